"""Bad bodies: each gets the code that the contract names for it, and changes nothing.

Endpoints, fields and good values come from the application's schemas. ``judged`` says what the
contract answers to any bytes.
"""

from __future__ import annotations

import json
import unicodedata
from contextlib import closing

import pytest
from fuzz import (
    INVALID,
    NOBODY,
    RawConnection,
    endpoints,
    fuzz_number,
    fuzz_text,
    fuzz_value,
    run_fuzz,
    snapshot,
    visible,
    words,
)
from hypothesis import strategies as st

from gateway.web.fields import Flag

# Hypothesis describes each strategy in a text, which is long for these values.
pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")

MOST = 16 * 1024  # bytes of a body
MALFORMED, TOO_BIG = {(400, 1004)}, {(413, 413)}
REFUSED = INVALID | MALFORMED | TOO_BIG
# The endpoint was reached; these tests accept any of its answers.
ANSWERED = {(200, code) for code in (0, 1000, 1002, 1005, 1006, 1008, 1009, 1012, 1018)}
ANY = ANSWERED | INVALID | {(429, 429)}


def judged(body, fields):
    """Return the allowed answers to a body, and the fields that a refusal must name."""
    if len(body) > MOST:
        return TOO_BIG, []
    try:
        text = body.decode("utf-8-sig") or "{}"
        hooks = {"parse_constant": refuse, "parse_int": float, "object_pairs_hook": unique}
        value = json.loads(text, **hooks)
    except (ValueError, RecursionError):
        return MALFORMED, []
    if not isinstance(value, dict) or depth(value) > 20:
        return MALFORMED, []
    missing = [name for name, field in fields.items() if field.required and name not in value]
    bad = [name for name in fields if name in value and is_bad(value[name], fields[name])]
    return MALFORMED if missing else INVALID if bad else ANY, missing + bad


def refuse(_constant):
    raise ValueError


def unique(pairs):
    if len(dict(pairs)) < len(pairs):
        raise ValueError
    return dict(pairs)


def depth(value):
    """Return how many lists and objects are in one another."""
    levels, layer = 0, [value]
    while layer := [part for part in layer if isinstance(part, list | dict)]:
        levels += 1
        layer = [c for part in layer for c in (part.values() if isinstance(part, dict) else part)]
    return levels


def is_bad(value, field):
    """Tell whether a field of no type would take a value, but for what this field takes."""
    if (value is None and field.allow_none) or (
        isinstance(value, bool) and isinstance(field, Flag)
    ):
        return False
    if isinstance(value, str):
        return any(unicodedata.category(character) in ("Cc", "Cs") for character in value)
    return value is None or isinstance(value, bool | list | dict)


def nest(levels, kind, closed, inside):
    """Return JSON with this many levels of lists, of objects, or of both in turn."""
    opened = [kind[n % len(kind)] for n in range(levels)]
    closing = ["]" if part == "[" else "}" for part in reversed(opened)]
    return "".join([*opened, inside, *closing] if closed else opened)


DEEP = st.builds(
    nest,
    st.integers(16, 24) | st.integers(20, 3000) | st.just(100_000),
    st.sampled_from([["["], ['{"a":'], ["[", '{"a":']]),
    st.booleans(),
    st.sampled_from(["0", r'{"a":1,"a":1}', r'{"a":1,"\u0061":2}']),
)
NO_JSON = words(
    r"""NaN  -Infinity  {"a":{"b":Infinity}}  1,}  tru  01  +1  .5  "\x"  "\u12"  0x1  {,}  {"a" 1}
    {1: 1}  'a'  /**/1  1 1  {"a": 1,}  1e400  -1e400  1E2  1.0  -0.0  [{}]"""
)
NO_JSON += ["9" * 5000, '"\n"', "1\u3000", '"\ud800"', '"\\ud800"', '"\\u0000"', '"\x85"']
ENCODINGS = st.sampled_from(words("utf-16  utf-16-le  utf-16-be  utf-32  utf-32-le  utf-32-be"))
# Not UTF-8: a latin-1 byte, NUL in two bytes, surrogates, a cut character, one beyond the last.
NO_UTF_8 = st.sampled_from(words("e9  c080  eda080  edbfbf  e4b8  f4908080")).map(bytes.fromhex)
PLACE = st.integers(0, 200)


def encoded(text):
    return text.encode(errors="surrogatepass")


def bodies(fields):
    """Make bodies; most have one fault."""
    good = {name: json.dumps(field.metadata["example"]) for name, field in fields.items()}
    good.update({name: '"not the password"' for name in good if "password" in name})

    def render(pairs):
        return encoded("{" + ", ".join(f"{json.dumps(n)}: {value}" for n, value in pairs) + "}")

    names = st.sampled_from([*fields, "other", "", "\0", "__proto__", "ключ"])
    odd = (fuzz_value | fuzz_text | fuzz_number).map(json.dumps) | st.sampled_from(NO_JSON) | DEEP
    one_odd = st.builds(lambda name, value: render({**good, name: value}.items()), names, odd)
    whole = render(good.items())
    size = st.sampled_from([MOST - 1, MOST, MOST + 1]) | st.integers(MOST, 300_000)
    lacking = st.lists(names, min_size=1, max_size=3).map(
        lambda gone: render((name, value) for name, value in good.items() if name not in gone)
    )
    return st.one_of(
        one_odd,
        one_odd,
        lacking,
        names.map(lambda name: render([*good.items(), (name, "1"), (name, "1")])),
        (st.sampled_from(NO_JSON) | DEEP | fuzz_value.map(json.dumps)).map(encoded),
        st.builds(
            lambda n, gone, new: whole[:n] + new + whole[n + gone :],
            PLACE,
            st.integers(0, 300),
            st.binary(max_size=3) | NO_UTF_8,
        ),
        st.binary(max_size=300),
        ENCODINGS.map(whole.decode().encode),
        st.builds(whole.ljust, size, st.sampled_from([b" ", b"\n", b"x"])),
        st.sampled_from([b"", b"\xef\xbb\xbf" + whole, b"user_name=lory&password=x", b"{}\0"]),
    )


CHUNKS = st.lists(st.integers(1, 5000), max_size=3)
HEADERS = st.dictionaries(
    st.sampled_from(words("Accept-Language  X-Request-ID  X-Forwarded-For  Cookie  Content-Type")),
    visible | st.sampled_from(words("text/plain; charset=utf-16  multipart/form-data; boundary=x")),
    max_size=2,
)


def test_bad_body_gets_its_code_and_changes_nothing(app, start_service, sql, scale, tally, request):
    """A bad body gets its code and changes nothing; no body gets a 5xx."""

    def try_at(path, fields, guarded, wanted, allowed):
        def check(example):
            body, chunks, headers, signed_in = example
            token = {"Authorization": raw_connection.token()} if signed_in else {}
            status, code, message = raw_connection.post(path, body, {**headers, **token}, chunks)
            expected, names = judged(body, fields)
            if guarded and not signed_in:
                expected, names = NOBODY, []
            assert (status, code) in expected, (status, code, message, body[:400], len(body))
            assert all(name in message for name in names), (message, body[:400])

        given = bodies(fields).filter(lambda body: judged(body, fields)[0] <= allowed)
        examples = st.tuples(given, CHUNKS, HEADERS, st.integers(0, 5).map(bool))
        run_fuzz(tally, f"bodies to {path}, {request.node.callspec.id}", check, examples, wanted)

    with closing(RawConnection(start_service)) as raw_connection:
        before = snapshot(sql)
        found = endpoints(app, raw_connection)
        for endpoint in found:
            try_at(*endpoint, scale(25, 6000), REFUSED)
            assert snapshot(sql) == before, endpoint[0]
        for endpoint in found:
            try_at(*endpoint, scale(15, 4000), REFUSED | ANY)
