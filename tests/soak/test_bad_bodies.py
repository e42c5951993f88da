"""Bad bodies: each gets the code that the contract names for it, and changes nothing.

Endpoints and field names come from the application; good and bad values are listed here.
"""

from __future__ import annotations

import json
from contextlib import closing, suppress
from operator import mul
from typing import NamedTuple

import pytest
from fuzz import (
    CONTROLS,
    FRAGMENTS,
    INT32,
    INVALID,
    NOBODY,
    SURROGATES,
    TWINS,
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
from marshmallow import ValidationError
from marshmallow.fields import Integer

# Hypothesis describes each strategy in a text, which is long for these values.
pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")

MOST = 16 * 1024  # bytes of a body
MALFORMED, TOO_BIG = {(400, 1004)}, {(413, 413)}
EITHER = INVALID | MALFORMED
# The endpoint was reached; these tests accept any of its answers.
ANSWERED = {(200, code) for code in (0, 1000, 1002, 1005, 1006, 1008, 1009, 1012, 1018)}
ANSWERED |= {(429, 429)}
ANY = ANSWERED | EITHER


class Case(NamedTuple):
    """A body, its allowed answers, and the fields that the message must name."""

    body: bytes
    expected: set
    names: tuple = ()

    def __repr__(self):
        return f"{self.body[:400]} ({len(self.body)} bytes) expects {self.expected} {self.names}"


def told(body, expected, names=()):
    """Make a case; a body that is too big always expects 413."""
    if isinstance(body, str):
        body = body.encode(errors="surrogateescape")
    return Case(body, expected, tuple(names)) if len(body) <= MOST else Case(body, TOO_BIG)


def malformed(body):
    return told(body, MALFORMED)


def judged(body):
    """Make a case of any bytes; if they are not a JSON object, expect "malformed"."""
    try:
        value = json.loads(body.decode("utf-8-sig") or "{}")
    except (ValueError, RecursionError):
        return malformed(body)
    return told(body, ANY if isinstance(value, dict) else MALFORMED)


# Fields: strategies for good and for bad values, as JSON text.


class Field(NamedTuple):
    good: st.SearchStrategy
    bad: st.SearchStrategy
    required: bool = True


BAD_FOR_ALL = words(
    """null  true  false  1.5  -1  2147483648  1E2  1e400  -1e400  []  {}  [[]]  ["lory"]
    {"a": "lory"}"""
)
BAD_FOR_ALL += ["9" * 5000, "-" + "9" * 5000]
BAD_NAMES = words(
    """a b  a@b  a/b  a<b  \u0301a  a\u200bb  😀  a\u202eb  %s  \u3164  admin\ufe0f  ' OR 1=1 --
    --help  -x  .a  _a  ·a  a·  a··b  1·a  ・a"""
)
BAD_NAMES += ["", " \u3000 ", "ﷺ" * 64]
BAD_EMAILS = words(
    """@  lory  lory@  @126.com  a b@b.com  a@b@c.com  a@.com  a@b.com,c@d.com  a@b..com
    Lory <a@b.com>  .a@b.com  a@-b.com  =?utf-8?q?a?=@b.com"""
)
BAD_EMAILS += ["", "a @b.com", "a@b.com\r\nBcc: x@y.com", "x" * 65 + "@b.com"]
NAMES = st.builds(
    "{}{}".format, st.sampled_from("abcXYZ019é中〇"), st.text("abcXYZ019_-.é中", max_size=63)
)
EMAILS = st.builds("a{}@Ex-ample.COM".format, st.text("abcXYZ019_+-", max_size=20))
HIDDEN = st.sampled_from(CONTROLS) | st.sampled_from(SURROGATES)


def text(most, good, bad=()):
    too_long = st.builds(mul, st.sampled_from("xé"), st.integers(most + 1, most + 300))
    hidden = st.builds("abcd{}{}".format, HIDDEN, st.text("ab1", min_size=4, max_size=9))
    wrong = st.sampled_from(["1", *BAD_FOR_ALL, *map(json.dumps, bad)])
    plain = good.map(lambda value: json.dumps(value, ensure_ascii=False))
    return Field(plain, wrong | too_long.map(json.dumps) | hidden.map(json.dumps))


def integer(least, most=INT32):
    beyond = st.integers(max_value=least - 1) | st.integers(min_value=most + 1) | st.floats(0, 9)
    wrong = st.sampled_from([*BAD_FOR_ALL, '"1"', '""', "1.0", "1e0", "-0.0"])
    return Field(st.integers(least, most).map(str), wrong | beyond.map(json.dumps))


# The first letter makes every password an uncommon one.
PASSWORD = text(
    128,
    st.builds("é{}".format, st.text("aZ0 '\"%é中", min_size=7, max_size=127)),
    ["", "x" * 7],
)
FIELDS = {
    "user_name": text(64, NAMES, BAD_NAMES),
    "email": text(254, EMAILS, BAD_EMAILS),
    **dict.fromkeys(["password", "old_password", "new_password"], PASSWORD),
    "reg_code": text(64, st.text("0123456789", min_size=4, max_size=10)),
    "project_name": text(128, st.text("aZ0_é中", min_size=1, max_size=128), ["", " \u3000 "]),
    "page_size": integer(1, 100),
    **dict.fromkeys(["project_type", "page_no", "user_id", "id"], integer(0)),
}
NAME_OR_EMAIL = text(254, NAMES | EMAILS, ["", " \u3000 "])


def fields_of(path, schema):
    """Return the fields of an endpoint; for fields not listed above, ask their schema."""
    known = {**FIELDS, "user_name": NAME_OR_EMAIL} if path.endswith("/login") else FIELDS
    return {
        name: known.get(name, unlisted(kind))._replace(required=kind.required)
        for name, kind in schema.items()
    }


def unlisted(kind):
    def takes(value):
        with suppress(ValidationError):
            kind.deserialize(json.loads(value))
            return True
        return False

    numbers = st.integers(0, INT32) | st.integers(0, 99)
    texts = NAMES | EMAILS | st.text("0123456789abcdef", min_size=9, max_size=64)
    good = (numbers if isinstance(kind, Integer) else texts).map(json.dumps).filter(takes)
    return Field(good, st.sampled_from(["null", "[]", "{}", "1e400", '"\\u0000"', "[[1]]"]))


# Bodies: an object is a dict, or pairs, of names and JSON text. ``fields`` are an endpoint's.

NESTING = st.sampled_from([["["], ['{"a":'], ["[", '{"a":']])
OTHERS = ["other", "", "\0", "__proto__", "self", "ключ"]
TWICE = [r'{"a":1,"a":1}', r'{"":0,"b":[],"":0}', r'{"a":1,"\u0061":2}']
PADDING = st.sampled_from([(0, " "), (1, "\n"), (-2, "x")])
PLACE = st.integers(0, 120)
NEVER_RAW = st.sampled_from([chr(c) for c in range(0x20) if chr(c) not in "\t\n\r"])
NO_OBJECTS = words(
    r"""null  []  [{}]  1  1e400  true  "text"  {  }  {}}  {]  {'user_name': 1}  {} {}  <a/>
    user_name=lory&password=x  {user_name: 1}  {"a": 1,}  {,}  {"a" 1}  {"a":}  {1: 1}  {"a": 01}
    {"a": +1}  {"a": .5}  {"a": "\x"}  {"a": "\u12"}  {"a": 0x1}  {"a": True}  nul  /**/{}  {}#"""
)
NO_OBJECTS += ["{}\0", "\0{}", " ", '{"a": "\n"}', "{}\u3000", "\ufeff\ufeff{}"]
NO_JSON = words('NaN  Infinity  -Infinity  [NaN]  {"a":{"b":-Infinity}}  1,}  tru')
# Not UTF-8: a latin-1 byte, NUL in two bytes, surrogates, a cut character, one beyond the last.
NO_UTF_8 = map(bytes.fromhex, words("e9  c080  eda080  edbfbf  e4b8  f4908080"))
NO_JSON += [f'"{raw.decode(errors="surrogateescape")}"' for raw in NO_UTF_8]
ENCODINGS = st.sampled_from(words("utf-16  utf-16-le  utf-16-be  utf-32  utf-32-le  utf-32-be"))


def render(body):
    pairs = body.items() if isinstance(body, dict) else body
    return "{" + ", ".join(f"{json.dumps(name)}: {value}" for name, value in pairs) + "}"


def good(fields):
    values = {name: field.good for name, field in fields.items()}
    optional = {name: values.pop(name) for name, field in fields.items() if not field.required}
    return st.fixed_dictionaries(values, optional=optional)


def with_one(fields, value):
    """Make a good body in which one field, known or not, has this value."""
    names = st.sampled_from([*fields, *OTHERS])
    return st.builds(lambda body, n, v: render({**body, n: v}), good(fields), names, value)


def nest(levels, kind, closed=True, inside="0"):
    """Return JSON with this many levels of lists, of objects, or of both in turn."""
    opened = [kind[n % len(kind)] for n in range(levels)]
    closing = ["]" if part == "[" else "}" for part in reversed(opened)]
    return "".join([*opened, inside, *closing] if closed else opened)


def padded(body, size, how):
    """Fill a body up to an exact size in bytes, with spaces or with a long text."""
    text = render({**body, "other": '""'})
    place, filler = how
    return text[:place] + filler * (size - len(text.encode())) + text[place:]


@st.composite
def broken(draw, fields):
    """Make a good body in which some fields are bad or missing."""
    body, bad, missing = draw(good(fields)), [], []
    for name in draw(st.lists(st.sampled_from([*fields]), min_size=1, unique=True)):
        if fields[name].required and draw(st.integers(0, 3)) == 0:
            missing.append(name)
            del body[name]
        else:
            bad.append(name)
            body[name] = draw(fields[name].bad)
    expected = (EITHER if bad else MALFORMED) if missing else INVALID
    return told(render(body), expected, bad + missing)


def bad_bodies(fields):
    """Make bodies that are bad as a whole; those over 64 KiB are rare, because they take time."""
    body = good(fields)
    whole = body.map(render)
    few, many = st.integers(20, 40) | st.integers(20, 3000), st.integers(8000, 100_000)
    deep = st.builds(nest, few, NESTING, st.booleans())
    deepest = st.builds(nest, many | st.just(100_000), NESTING, st.booleans())
    twice = st.builds(nest, st.integers(0, 17), NESTING, st.just(True), st.sampled_from(TWICE))
    kinds = [
        st.sampled_from(NO_OBJECTS),
        (fuzz_number | fuzz_text | st.lists(fuzz_value, max_size=3)).map(json.dumps),
        st.builds(lambda text, n: text[: 1 + n % (len(text) - 1)], whole, PLACE),
        st.builds(lambda text, n, raw: text[:n] + raw + text[n:], whole, PLACE, NEVER_RAW),
        st.builds("{}{}".format, whole, st.sampled_from([*'}]x,0"\0', "{}", "null"])),
        st.builds(str.encode, whole, ENCODINGS),
        with_one(fields, st.sampled_from(NO_JSON)),
        with_one(fields, deep),
        with_one(fields, twice),
        body.map(lambda body: render([*(body or {"a": 1}).items()] * 2)),
        st.builds(padded, body, st.just(MOST + 1) | st.integers(MOST + 1, 40_000), PADDING),
    ]
    bad = st.one_of(kinds).map(malformed)
    rare = deepest | st.integers(65_536, 300_000).map(lambda size: b"\xff" * size)
    of_fifty = [rare.map(malformed)] + [bad] * 24 + [broken(fields) if fields else bad] * 25
    return st.integers(0, 49).flatmap(of_fifty.__getitem__)


def odd_bodies(fields):
    """Make bodies that are just valid, and bodies that may be valid or not."""
    body = good(fields)
    whole = body.map(render)
    ignored = st.sampled_from(["0", "null", "[[],{}]", r'"\u0000"', "true", "-1.5e3"])
    ignored |= NESTING.map(lambda kind: nest(19, kind))
    fair = st.one_of(
        whole,
        st.builds(padded, body, st.sampled_from([MOST - 1, MOST]), PADDING),
        st.builds(lambda b, n, v: render({n: v, **b}), body, st.sampled_from(OTHERS), ignored),
    )
    twins = st.sampled_from(FRAGMENTS + TWINS).map(lambda x: json.dumps(x, ensure_ascii=False))
    names = st.sampled_from([*fields, "other"]) | fuzz_text
    either = st.one_of(
        whole.map("\ufeff{}".format),
        with_one(fields, (fuzz_value | fuzz_text).map(json.dumps) | twins),
        st.dictionaries(names, fuzz_value).map(json.dumps),
    )
    mutated = st.builds(
        lambda text, n, gone, new: text[:n] + new + text[n + gone :],
        *(whole.map(str.encode), PLACE, st.integers(0, 3), st.binary(max_size=3)),
    )
    required = [name for name, field in fields.items() if field.required]
    return st.one_of(
        fair.map(lambda body: told(body, ANSWERED)),
        either.map(lambda body: told(body, ANY)),
        (mutated | st.binary(max_size=300)).map(judged),
        st.just(told("", MALFORMED if required else ANSWERED, required)),
    )


CHUNKS = st.lists(st.integers(1, 5000), max_size=3)
HEADERS = st.dictionaries(
    st.sampled_from(words("Accept-Language  X-Request-ID  X-Forwarded-For  Cookie  Content-Type")),
    visible | st.sampled_from(words("text/plain; charset=utf-16  multipart/form-data; boundary=x")),
    max_size=2,
)


def test_bad_body_gets_its_code_and_changes_nothing(app, start_service, sql, scale, tally, request):
    """A bad body gets its code and changes nothing; no body gets a 5xx."""

    def try_at(path, guarded, bodies, wanted):
        def check(example):
            case, chunks, headers, signed_in = example
            token = {"Authorization": raw_connection.token()} if signed_in else {}
            reply = raw_connection.post(path, case.body, {**headers, **token}, chunks)
            if guarded and not signed_in:
                assert reply[:2] in NOBODY, reply
                return
            assert reply[:2] in case.expected, reply
            assert reply[0] != 400 or all(name in reply[2] for name in case.names), reply

        examples = st.tuples(bodies, CHUNKS, HEADERS, st.integers(0, 5).map(bool))
        run_fuzz(tally, f"bodies to {path}, {request.node.callspec.id}", check, examples, wanted)

    with closing(RawConnection(start_service)) as raw_connection:
        before = snapshot(sql)
        found = endpoints(app, raw_connection)
        for path, schema, guarded in found:
            try_at(path, guarded, bad_bodies(fields_of(path, schema)), scale(25, 6000))
            assert snapshot(sql) == before, path
        for path, schema, guarded in found:
            try_at(path, guarded, odd_bodies(fields_of(path, schema)), scale(15, 4000))
