"""Bad input of every kind: each reply is an envelope with the right code, and nothing changes.

Hypothesis makes the input, gunicorn gets it over one keep-alive connection. Endpoints and the names
of their fields come from the views; what is good, bad or too long is typed in from the contract.
"""

from __future__ import annotations

import base64
import hmac
import json
import re
import socket
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPResponse
from itertools import count, cycle

import pytest
from conftest import SECRET_KEY
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from marshmallow import fields
from servers import PATIENCE
from witness import witness

from gateway.crypto import derive_key
from gateway.extensions import db

# Hypothesis keeps a text that describes each strategy; these hold long values.
pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")

MOST = 16 * 1024  # bytes of a body
INT32 = 2**31 - 1
# What may answer: HTTP status and code.
MALFORMED, INVALID, EITHER = {(400, 1004)}, {(400, 1003)}, {(400, 1003), (400, 1004)}
TOO_BIG, NOBODY, SENT = {(413, 413)}, {(401, 1001)}, {(200, 0)}
# The endpoint was reached; what it said is not the matter here.
ANSWERED = {(200, code) for code in (0, 1000, 1002, 1005, 1006, 1008, 1009, 1012, 1018)}
ANSWERED |= {(429, 429)}
ANY = ANSWERED | EITHER | TOO_BIG | {(400, 400)}
OPEN = {"auth-code", "register", "login", "reset-code", "reset-password"}  # to all without a token
OPTIONAL = {"user_id", "page_no", "page_size", "grace_hours"}
INTERNALS = re.compile(
    r"Traceback|File \"|\b(SELECT|INSERT|UPDATE|DELETE|WHERE)\b|sqlalchemy|psycopg|sqlite|postgres"
    r"|marshmallow|werkzeug|[a-z]Error\b|Exception"
)


def words(text):
    """Split at line ends and where two blanks stand."""
    return re.split(r"\n *|  +", text.strip("\n "))


@dataclass
class Case:
    """A body, what may answer it, and the fields that the message must name."""

    body: bytes
    expected: set
    names: tuple = ()

    def __repr__(self):
        start = ascii(self.body[:400]) + "..." * (len(self.body) > 400)
        return f"{start} ({len(self.body)} bytes) expects {self.expected} {self.names or ''}"


@dataclass
class Field:
    """Good and bad values of a field, each as JSON text."""

    good: st.SearchStrategy
    bad: st.SearchStrategy


@dataclass
class Endpoint:
    path: str
    fields: dict = field(repr=False)

    @property
    def wants_token(self):
        return self.path.removeprefix("/api/v1/") not in OPEN

    @property
    def required(self):
        return tuple(name for name in self.fields if name not in OPTIONAL)


# The connection


@dataclass
class Wire:
    """A keep-alive connection that carries any bytes; made anew when the server closes it."""

    port: int
    claims: dict
    connection: socket.socket = None
    clients: count = field(default_factory=lambda: count(1))

    def post(self, path, body, headers=(), chunks=()):
        """Send one request, chunked when told the sizes; return status, code and message."""
        n = next(self.clients)
        ip = b"10.%d.%d.%d" % (n >> 16, n >> 8 & 255, n & 255)  # one login fails 50 times only
        lines = [b"POST %s HTTP/1.1" % path.encode(), b"Host: x", b"X-Forwarded-For: " + ip]
        lines += [name + b": " + value for name, value in headers]
        if chunks:
            lines.append(b"Transfer-Encoding: chunked")
            body = in_chunks(body, chunks)
        elif body is not None:
            lines.append(b"Content-Length: %d" % len(body))
        return checked(*self.exchange(b"\r\n".join([*lines, b"", body or b""])))

    def exchange(self, request):
        kept = self.connection is not None
        if not kept:
            self.connection = socket.create_connection(("127.0.0.1", self.port), PATIENCE)
            self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with HTTPResponse(self.connection, method="POST") as reply:
            try:
                with suppress(ConnectionError):  # it may answer, and close, before it has all
                    self.connection.sendall(request)
                reply.begin()
                content = reply.read()
            except ConnectionError:
                self.close()
                if not kept:
                    raise
                return self.exchange(request)  # it had been idle for too long
        if reply.will_close:
            self.close()
        return reply, content

    def close(self):
        if self.connection:
            self.connection.close()
        self.connection = None

    def token(self):
        """Return a good token that nobody has used."""
        token = signed(claims={**self.claims, "jti": str(uuid.uuid4())})
        witness.saw_secret(token)
        return token


def in_chunks(body, sizes):
    parts, start = [], 0
    for size in cycle(sizes):
        part = body[start : start + size]
        parts.append(b"%x\r\n%b\r\n" % (len(part), part))
        start += size
        if not part:
            break
    return b"".join(parts)


def checked(reply, content):
    """Check what holds for every reply; return status, code and message."""
    assert reply.headers.get_all("Content-Type") == ["application/json"], (reply.status, content)
    body = json.loads(content.decode("utf-8"))
    assert body.keys() == {"header", "data"}, body
    header, data = body["header"], body["data"]
    assert header.keys() == {"code", "message", "total", "count"}, body
    assert [*map(type, header.values())] == [int, str, int, int], body
    assert type(data) is dict, body
    code, message = header["code"], header["message"]
    assert message == "OK" if code == 0 else message not in ("", "OK"), body
    assert code == 0 or (header["total"], header["count"], data) == (0, 0, {}), body
    assert not INTERNALS.search(message), body
    assert (reply.headers["WWW-Authenticate"] == "Bearer") == (code == 1001), body
    assert reply.headers["Retry-After"] or code != 429, body
    witness.saw(data)
    return reply.status, code, message


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decoded(part):
    return base64.urlsafe_b64decode(part + "==")


KEY = derive_key(SECRET_KEY, "jwt")
HEADER = {"alg": "HS256", "typ": "JWT"}


def signed(header=HEADER, claims=b"{}", key=KEY, digest="sha256"):
    """Sign what PyJWT would not: any value, or any bytes, as header and as claims."""
    parts = [p if isinstance(p, bytes) else json.dumps(p).encode() for p in (header, claims)]
    text = ".".join(map(base64url, parts))
    return f"{text}.{base64url(hmac.digest(key, text.encode(), digest))}"


# What the tests share


def run(check, examples, wanted):
    """Let Hypothesis try at least ``wanted`` examples; return how many it tried."""
    tried = 0

    def attempt(example):
        nonlocal tried
        tried += 1
        check(example)

    while tried < wanted:  # it may end early, believing to have seen all there is
        settings(
            max_examples=wanted - tried,
            deadline=None,
            database=None,
            report_multiple_bugs=False,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )(given(examples)(attempt))()
    return tried


@pytest.fixture
def bombard(tally, request):
    """Return a function that runs a check, and counts in the table what it tried."""

    def bombard(what, check, examples, wanted):
        line = "bad input", f"{what}, {request.node.callspec.id}"
        try:
            tried = run(check, examples, wanted)
        except BaseException:
            with suppress(AssertionError):
                tally(*line, wanted, ["the example that Hypothesis shows"])
            raise
        tally(*line, tried)

    return bombard


@pytest.fixture
def wire(start_service):
    """A connection to a service where two have a project each; the first, lory, is signed in."""
    service = start_service(workers=2)
    project = {"project_type": 1, "project_name": "我的ChatGPT项目"}
    for user_name in ("lory", "other"):
        token = service.sign_up(user_name)
        assert service.post("/project/create", project, token)[1] == 0
    wire = Wire(service.port, json.loads(decoded(service.log_in("lory").split(".")[1])))
    yield wire
    wire.close()


@pytest.fixture
def snapshot(sql):
    """Return a function that reads every row of every table."""
    tables = [table.name for table in db.metadata.sorted_tables]
    return lambda: {table: sorted(map(repr, sql(f"SELECT * FROM {table}"))) for table in tables}


@pytest.fixture
def endpoints(app):
    """Every endpoint that takes a body."""
    found = []
    for rule in app.url_map.iter_rules():
        schema = getattr(app.view_functions[rule.endpoint], "schema", None)
        if schema:
            kinds = {name: described(name, kind) for name, kind in schema().fields.items()}
            if rule.rule == "/api/v1/login":
                kinds["user_name"] = NAME_OR_EMAIL
            found.append(Endpoint(rule.rule, kinds))
    assert len(found) >= 7
    return found


# Values

CONTROLS = [chr(c) for c in (*range(0x20), *range(0x7F, 0xA0))]
SURROGATES = ["\ud800", "\udbff", "\udc00", "\udfff"]
BROKEN = st.sampled_from(SURROGATES)
FRAGMENTS = words(
    """' OR 1=1 --  '; DROP TABLE users; --  "; DELETE FROM projects; --  1) UNION SELECT 1  %s%s%n
    %(name)s  {0}  {self.__class__}  {{7*7}}  ${jndi:ldap://x/a}  $(id)  \\  \\\\  '  "  `id`  NaN
    ../../etc/passwd  <script>  &lt;  null  0x10  \u202e  \u200b  \ufeff  \uffff  \U0010ffff"""
)
FRAGMENTS += ["ﷺ" * 64, "i\u0307" * 9, "e\u0301"]
TWINS = words(
    """lory  LORY  ｌｏｒｙ  ℓory  𝓵𝓸𝓻𝔂  ⓛⓞⓡⓨ  \u3000lory  l\u200bory  ſtraße  STRASSE  Ⅷ  ﬁ
    İ  ı  \u0345  ǰ  lory@126.com  LORY@126.COM  lory＠126.com  lory@126。com  lory@１２６.com"""
)
TWINS += ["ſ@126.com", " lory ", "ß" * 64, "ẞ" * 33]
hostile_text = st.text(st.characters(codec=None), max_size=80) | st.sampled_from(
    FRAGMENTS + TWINS + CONTROLS + SURROGATES
)
hostile_number = (
    st.integers()
    | st.floats()
    | st.sampled_from([INT32, 2**31, -(2**31), 2**32, 2**53 + 1, 2**63, 2**64, 10**400])
)
hostile_value = st.recursive(
    st.none() | st.booleans() | hostile_number | hostile_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(hostile_text, inner, max_size=3),
    max_leaves=6,
)
BAD_FOR_ALL = words(
    """null  true  false  1.5  0.0  -1  2147483648  1E2  1e400  -1e400  []  {}  [[]]  [1]  ["lory"]
    {"a": "lory"}"""
)
BAD_FOR_ALL += ["9" * 5000, "-" + "9" * 5000]


def quoted(text):
    return st.builds(json.dumps, text, ensure_ascii=st.booleans())


def text_field(least, most, good=None, bad=(), stripped=False):
    """Describe a text of ``least`` to ``most`` characters."""
    plain = st.text("abcXYZ019_-.", min_size=max(least, 1), max_size=min(most, 40))
    wrong = ["1", "0", json.dumps("é" * (most + 1)), *map(json.dumps, bad)]
    wrong += [json.dumps("x" * size) for size in range(least)]
    wrong += ['"   "', '" \u3000 "'] if stripped else []
    around, hidden = st.text("ab1", max_size=5), st.sampled_from(CONTROLS) | BROKEN
    return Field(
        quoted(plain if good is None else good),
        st.sampled_from(BAD_FOR_ALL + wrong)
        | st.builds("{}{}{}".format, around, hidden, around).map(json.dumps)
        | st.integers(most + 1, most + 300).map(lambda size: json.dumps("x" * size)),
    )


def integer_field(least, most):
    wrong = ['"1"', '""', '"lory"', "1.0", "1e0", "-0.0", *map(str, [2**63, 2**64, 10**30])]
    beyond = st.integers(max_value=least - 1) | st.integers(min_value=most + 1) | st.floats(0, 9)
    return Field(
        st.integers(least, most).map(str),
        st.sampled_from(BAD_FOR_ALL + wrong) | beyond.map(json.dumps),
    )


BAD_NAMES = words(
    """a b  a@b  a/b  a<b  a'b  \u0301a  a\u200bb  😀  a\u202eb  a\u2028b  %s  \u3164  \uffa0
    admin\ufe0f  admin\u034f  ' OR 1=1 --"""
)
BAD_NAMES += ["ﷺ" * 64, "㎯" * 30]
BAD_EMAILS = words(
    """@  lory  lory@  @126.com  a b@b.com  a@b .com  a@b@c.com  a@.com  a@b.com,c@d.com  a@b..com
    a@b.com;c@d.com  Lory <a@b.com>  <a@b.com>  .a@b.com  a..b@b.com  a@-b.com  a@b-.com"""
)
BAD_EMAILS += [" a@b.com ", "a@b.com\r\nBcc: x@y.com", "x" * 65 + "@b.com", f"a@{'x' * 64}.com"]
NAMES = st.text("abcXYZ019_-.é中", min_size=1, max_size=64)
EMAILS = st.builds(
    "a{}@{}".format,
    st.text("abcXYZ019_+-", max_size=20),
    st.sampled_from(["126.com", "b.co", "Ex-ample.COM", "mail.example.org"]),
)
PASSWORD = text_field(8, 128, st.text("abcXYZ019 '\"%é中", min_size=8, max_size=128))
NAME_OR_EMAIL = text_field(1, 254, NAMES | EMAILS, stripped=True)
FIELDS = {
    "user_name": text_field(1, 64, NAMES, BAD_NAMES, stripped=True),
    "email": text_field(1, 254, EMAILS, BAD_EMAILS),
    "password": PASSWORD,
    "old_password": PASSWORD,
    "new_password": PASSWORD,
    "reg_code": text_field(0, 10_000, st.text("0123456789", min_size=4, max_size=10)),
    "project_name": text_field(1, 128, stripped=True),
    "project_type": integer_field(0, INT32),
    "page_no": integer_field(0, INT32),
    "page_size": integer_field(1, 100),
    "user_id": integer_field(0, INT32),
    "id": integer_field(0, INT32),
    "grace_hours": integer_field(0, 168),
}


def described(name, kind):
    """Return what the contract says of a field; of one it does not list, what its class says."""
    is_integer = isinstance(kind, fields.Integer)
    return FIELDS.get(name, integer_field(0, INT32) if is_integer else text_field(1, 10_000))


# Bodies

NESTING = st.sampled_from([["["], ['{"a":'], ["[", '{"a":']])
OTHER = st.sampled_from(words(r'"other"  ""  "\u0000"  "__proto__"  "self"  "0"  "ключ"'))
PADDING = st.sampled_from(["text", "list", "before", "after"])


def told(body, expected, names=()):
    """Make a case; of a body that is too big, nothing else is told."""
    body = body.encode() if isinstance(body, str) else body
    return Case(body, expected, names) if len(body) <= MOST else Case(body, TOO_BIG)


def malformed(body):
    return told(body, MALFORMED)


def judged(body):
    """Make a case of any bytes: what is no JSON object must be called malformed."""
    try:
        value = json.loads(body.decode("utf-8-sig") or "{}")
    except (ValueError, RecursionError):
        return malformed(body)
    return told(body, ANY if isinstance(value, dict) else MALFORMED)


def render(pairs, space=""):
    """Write an object whose keys and values are JSON text already; a key may come twice."""
    return "{" + f",{space}".join(f"{key}:{space}{value}" for key, value in pairs) + "}"


def good_pairs(endpoint):
    """Make the fields of a good body."""
    kinds = {json.dumps(name): kind.good for name, kind in endpoint.fields.items()}
    optional = {key: kind for key, kind in kinds.items() if json.loads(key) in OPTIONAL}
    required = {key: kind for key, kind in kinds.items() if key not in optional}
    return st.fixed_dictionaries(required, optional=optional).map(lambda body: [*body.items()])


def good_text(endpoint):
    return st.builds(render, good_pairs(endpoint), st.sampled_from(["", " ", "\r\n\t"]))


def with_one(endpoint, value):
    """Make a good body to which a field, known or not, has been added; or it was replaced."""
    keys = st.sampled_from([json.dumps(name) for name in endpoint.fields] or ['"other"']) | OTHER
    return st.builds(
        lambda pairs, key, text: render({**dict(pairs), key: text}.items()),
        good_pairs(endpoint),
        keys,
        value,
    )


def nest(levels, parts, inside="0", closed=True):
    """Return JSON that many levels deep."""
    opened = [parts[n % len(parts)] for n in range(levels)]
    closing = ["]" if part == "[" else "}" for part in reversed(opened)]
    return "".join([*opened, inside, *closing] if closed else opened)


def padded(body, size, how):
    """Bring the text of an object to an exact size in bytes."""
    room = size - len(body.encode())
    if how == "before":
        return " " * room + body
    if how == "after":
        return body + "\n" * room
    start = ',"other":'[body == "{}" :] + {"text": '"', "list": "[1"}[how]
    middle = {"text": "x", "list": ",1"}[how] * ((room - len(start) - 1) // (1 + (how == "list")))
    end = {"text": '"', "list": "]"}[how]
    return body[:-1] + (start + middle).ljust(room - 1) + end + "}"


@st.composite
def broken_fields(draw, endpoint):
    """A good body, but some of its fields are bad or missing."""
    body = dict(draw(good_pairs(endpoint)))
    broken, missing = [], []
    for name in sorted(draw(st.sets(st.sampled_from(sorted(endpoint.fields)), min_size=1))):
        if name not in OPTIONAL and draw(st.integers(0, 3)) == 0:
            missing.append(name)
            del body[json.dumps(name)]
        else:
            broken.append(name)
            body[json.dumps(name)] = draw(endpoint.fields[name].bad)
    expected = (EITHER if broken else MALFORMED) if missing else INVALID
    return told(render(draw(st.permutations([*body.items()]))), expected, (*broken, *missing))


@st.composite
def a_key_twice(draw, endpoint):
    """The same key twice, at any depth, perhaps spelt differently."""
    pairs = draw(good_pairs(endpoint))
    if pairs and draw(st.booleans()):
        key, value = draw(st.sampled_from(pairs))
        spelt = '"' + "".join(f"\\u{ord(letter):04x}" for letter in key[1:-1]) + '"'
        pairs.append((draw(st.sampled_from([key, spelt])), draw(st.sampled_from([value, "null"]))))
    else:
        twins = words(r'{"a":1,"a":1}  {"":0,"b":[],"":0}  {"a":1,"\u0061":2}')
        levels, inside = draw(st.integers(0, 17)), draw(st.sampled_from(twins))
        pairs.append(('"other"', nest(levels, draw(NESTING), inside)))
    return malformed(render(draw(st.permutations(pairs))))


@st.composite
def too_deep(draw, endpoint):
    """More than 20 levels, up to 100,000; or so many brackets that never close."""
    few, many = st.integers(20, 40), st.integers(20, 100_000)
    levels = draw(few | few | st.integers(20, 8000) | st.sampled_from([8191, 100_000]) | many)
    closed = draw(st.booleans())
    value = nest(levels, draw(NESTING), closed=closed)
    if draw(st.booleans()):
        return malformed(f"[{value}]" if closed else value)
    return malformed(draw(with_one(endpoint, st.just(value))))


NO_UTF_8 = [b"\xff", b"\xe9", b"\x80", b"\xc0\x80", b"\xed\xa0\x80", b"\xed\xbf\xbf", b"\xe4\xb8"]
NO_UTF_8 += [b"\xf8\x88\x80\x80\x80", b"\xf4\x90\x80\x80", b"\xef\xbb\xbf\xef\xbb\xbf\xfe"]
ENCODINGS = st.sampled_from(words("utf-16  utf-16-le  utf-16-be  utf-32  utf-32-le  utf-32-be"))
BOMS = st.sampled_from([b"", b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf"])


def other_encodings(endpoint):
    text = good_text(endpoint)
    raw = with_one(endpoint, st.just('"HERE"')).map(str.encode)
    return st.one_of(
        st.builds(lambda bom, t, name: malformed(bom + t.encode(name)), BOMS, text, ENCODINGS),
        st.builds(lambda t, x: malformed(t.replace(b"HERE", x)), raw, st.sampled_from(NO_UTF_8)),
        text.map(lambda t: malformed("\ufeff\ufeff" + t)),
    )


NO_OBJECTS = words(
    r"""null  []  [{}]  1  -1  1.5  1e400  true  "text"  ""  {  }  {}}  {]  {'user_name': 1}  {} {}
    user_name=lory&password=x  <a/>  {user_name: 1}  {"a": 1,}  {,}  {"a" 1}  {"a":}  {1: 1}  --
    {"a": 01}  {"a": +1}  {"a": .5}  {"a": 1.}  {"a": "\x"}  {"a": "\u12"}  {"a": 0x1}  /**/{}  {}#
    {"a": 1_0}  {"a": True}  {"a": None}  {"a": undefined}  {null: 1}  {"a": tru}  nul  +AHsAfQ-"""
)
NO_OBJECTS += ["{}\0", "\0", "\0{}", " ", "\n", "//\n{}", '{"a": "\n"}', '{"a": "\t"}', "{}\u3000"]
NO_JSON = words('NaN  Infinity  -Infinity  [NaN]  {"a":{"b":-Infinity}}  1,}  tru')
NO_JSON += ['"\n"', '"\t"', "\0"]
NEVER_RAW = st.sampled_from([chr(c) for c in range(0x20) if chr(c) not in "\t\n\r"])
BEHIND = st.sampled_from([*'}]x,0"', "{}", "\0", "null"])
PLACES = st.integers(0, 500)


def cut(text, place):
    return malformed(text[: 1 + place % (len(text) - 1)])


def split_by(text, place, letter):
    place %= len(text) + 1
    return malformed(text[:place] + letter + text[place:])


def mutated(text, changes):
    """Replace, remove and add bytes."""
    body = bytearray(text.encode())
    for place, how, byte in changes:
        at = place % (len(body) + 1)
        body[at : at + (how != "add")] = b"" if how == "remove" else bytes([byte])
    return judged(bytes(body))


CHANGE = st.tuples(PLACES, st.sampled_from(["replace", "remove", "add"]), st.integers(0, 255))
SIZES = st.just(MOST + 1) | st.integers(MOST + 1, 40_000) | st.sampled_from([65_536, 300_000])


def any_bodies(endpoint):
    """Make bodies that are good or bad as chance will have it."""
    mutations = st.lists(CHANGE, min_size=1, max_size=4)
    return st.builds(mutated, good_text(endpoint), mutations) | st.binary(max_size=300).map(judged)


def bad_bodies(endpoint):
    """Make bodies that are bad in themselves."""
    text = good_text(endpoint)
    listed = st.lists(hostile_value, max_size=3)
    kinds = [
        st.sampled_from(NO_OBJECTS).map(malformed),
        (hostile_number | hostile_text | listed).map(json.dumps).map(malformed),
        st.builds(cut, text, PLACES),
        st.builds(split_by, text, PLACES, NEVER_RAW),
        st.builds("{}{}".format, text, BEHIND).map(malformed),
        with_one(endpoint, st.sampled_from(NO_JSON)).map(malformed),
        a_key_twice(endpoint),
        too_deep(endpoint),
        other_encodings(endpoint),
        st.builds(padded, text, SIZES, PADDING).map(malformed),
        SIZES.map(lambda size: malformed(b"\xff" * size)),
        any_bodies(endpoint).filter(lambda case: case.expected != ANY),
    ]
    return st.one_of(kinds + [broken_fields(endpoint)] * (6 if endpoint.fields else 0))


def odd_bodies(endpoint):
    """Make bodies that are good, if barely, and bodies that may be either."""
    text, pairs = good_text(endpoint), good_pairs(endpoint)
    ignored = st.sampled_from(["0", "null", "[[],{}]", '"x"', "true", "-1.5e3"])
    ignored |= NESTING.map(lambda kind: nest(19, kind))
    names = st.sampled_from([*endpoint.fields, "other"]) | hostile_text
    hostile = (hostile_value | hostile_text).map(json.dumps)
    empty = ANSWERED if not endpoint.required else MALFORMED
    good = st.one_of(
        text,
        st.builds(padded, text, st.sampled_from([MOST - 1, MOST]), PADDING),
        st.builds(lambda pairs, *more: render([more, *pairs]), pairs, OTHER, ignored),
    )
    either = st.one_of(
        text.map("\ufeff{}".format),
        with_one(endpoint, hostile | quoted(st.sampled_from(FRAGMENTS + TWINS))),
        st.dictionaries(names, hostile_value).map(json.dumps),
    )
    return st.one_of(
        good.map(lambda body: told(body, ANSWERED)),
        either.map(lambda body: told(body, ANY)),
        any_bodies(endpoint),
        st.just(Case(b"", empty, endpoint.required)),
    )


VISIBLE = [chr(c) for c in (*range(0x20, 0x7F), *range(0x80, 0x100))]
visible = st.text(st.sampled_from(VISIBLE), max_size=200).map(lambda text: text.strip(" "))
TEXT_HEADERS = [b"Accept-Language", b"X-Request-ID", b"X-Forwarded-For", b"User-Agent", b"Cookie"]
CONTENT_TYPES = [b"application/json", b"text/plain", b"application/x-www-form-urlencoded", b""]
CONTENT_TYPES += [b"multipart/form-data; boundary=x", b"application/json; charset=utf-16", b"\xe9"]
HEADERS = st.lists(
    st.tuples(st.sampled_from(TEXT_HEADERS), visible.map(lambda text: text.encode("latin-1")))
    | st.tuples(st.just(b"Content-Type"), st.sampled_from(CONTENT_TYPES)),
    max_size=2,
    unique_by=lambda header: header[0],
)
CHUNKS = st.just([]) | st.lists(st.integers(1, 2500).map(lambda n: 2 * n + 1), min_size=1)


def test_bodies(endpoints, wire, bombard, scale, snapshot):
    """A bad body gets its code and changes nothing; no body whatever yields a 5xx."""

    def try_at(endpoint, bodies, wanted):
        def check(example):
            case, chunks, headers, signed_in = example
            if len(case.body) > 100 * min(chunks, default=MOST):
                chunks = [4321]  # it is not the number of chunks that is tried
            token = [(b"Authorization", wire.token().encode())] if signed_in else []
            reply = wire.post(endpoint.path, case.body, [*headers, *token], chunks)
            if endpoint.wants_token and not signed_in:
                assert reply[:2] in NOBODY, reply
                return
            assert reply[:2] in case.expected, reply
            assert reply[0] != 400 or all(name in reply[2] for name in case.names), reply

        signed_in = st.integers(0, 5).map(bool)
        examples = st.tuples(bodies, CHUNKS, HEADERS, signed_in)
        bombard(f"bodies to {endpoint.path}", check, examples, wanted)

    before = snapshot()
    for endpoint in endpoints:
        try_at(endpoint, bad_bodies(endpoint), scale(25, 6000))
        assert snapshot() == before, endpoint
    for endpoint in endpoints:
        try_at(endpoint, odd_bodies(endpoint), scale(15, 4000))


# Tokens

NO_ATOM = st.sampled_from([[], [1], ["1"], {}, {"a": "1"}])
NO_TEXT = st.none() | st.booleans() | st.floats() | st.integers() | NO_ATOM
NO_TIME = (st.none() | st.booleans() | st.floats() | hostile_text | NO_ATOM) | st.sampled_from(
    ["9999999999", " 9999999999 ", "1e10", 9999999999.0, 9999999999.5]
)
NO_USER = ["1\0", "\0", "１", "٢", "¹", " 1", "1 ", "+1", "1.0", "0x1", "1_0", "1\n", "lory"]
NO_USER += map(str, [INT32, 2**31, 2**32 + 1, 2**63, 2**64 + 1, 10**1000])
BAD_CLAIMS = {
    "exp": NO_TIME | st.integers(min_value=10**12) | st.sampled_from([10**30, 2**63, 10**400]),
    "iat": NO_TIME,
    "jti": NO_TEXT
    | st.integers(37, 4000).map(lambda size: "j" * size)
    | st.sampled_from(["\0", "a\0b", "\ud800", "a\udfffb", "j" * 255 + "\0"]),
    "sub": NO_TEXT
    | (st.integers(min_value=3) | st.integers(max_value=0)).map(str)
    | hostile_text.filter(lambda text: not re.fullmatch("0*[12]", text))
    | st.sampled_from(NO_USER),
    "type": st.just("refresh"),
    "nbf": st.integers(min_value=10**12) | st.just("soon") | NO_ATOM,
}
ONE_BAD_CLAIM = st.one_of([st.fixed_dictionaries({name: bad}) for name, bad in BAD_CLAIMS.items()])
BAD_CLAIMS_AT_ONCE = st.fixed_dictionaries({}, optional=BAD_CLAIMS).filter(bool)
NEEDED = ["exp", "iat", "jti", "sub"]
NO_OBJECT = st.one_of(
    st.binary(max_size=300).filter(lambda text: not text.startswith(b"{")),
    hostile_value.filter(lambda value: not isinstance(value, dict)),
    st.builds(lambda n, kind: nest(n, kind, closed=False).encode(), st.integers(1, 1100), NESTING),
    st.integers(900, 5000).map(lambda size: b"9" * size),
    st.sampled_from([b"null", b"{", b"{'sub': '1'}", b"\xff\xfe{\0}\0"]),
)
BAD_ALGORITHMS = words("none  None  NONE  nOnE  hs256  HS384  HS512  RS256  ES256  PS256  EdDSA")
BAD_ALGORITHMS += ["", "HS256 ", "HS256\0", None, 0, True, [], ["HS256"], {"alg": "HS256"}]
OTHER_KEYS = st.binary(min_size=1, max_size=64) | st.sampled_from(
    [SECRET_KEY.encode(), derive_key(SECRET_KEY, "mail-code"), KEY[:-1], KEY.hex().encode()]
)
EVIL = hostile_value | st.sampled_from(["HS256", "none", "DEF", "/dev/null", ["b64"], ["exp"]])
EVIL_NAMES = st.sampled_from(words("typ  kid  jku  jwk  x5u  x5c  crit  zip  enc  b64  cty"))
FORGERIES = st.one_of(  # header, key, digest; the claims are right
    st.tuples(st.just(HEADER), OTHER_KEYS),
    st.tuples(st.dictionaries(EVIL_NAMES, EVIL).map(lambda evil: {**HEADER, **evil}), OTHER_KEYS),
    st.tuples(st.sampled_from(BAD_ALGORITHMS).map(lambda alg: {"alg": alg}), OTHER_KEYS),
    st.tuples(st.sampled_from(BAD_ALGORITHMS).map(lambda alg: {"alg": alg}), st.just(KEY)),
    st.tuples(EVIL.filter(lambda x: x != ["b64"]).map(lambda x: {**HEADER, "crit": x})),
    st.tuples(NO_OBJECT),
    st.sampled_from(
        [
            ({"alg": "HS384"}, KEY, "sha384"),
            ({"alg": "HS512"}, KEY, "sha512"),
            ({"alg": "HS512"}, KEY, "sha256"),
            ({"alg": "HS256"}, KEY, "sha512"),
            ({"alg": "HS256", "b64": False, "crit": ["b64"]},),
            (b'{"alg":"HS256","alg":"none"}',),
            (b'{"typ":"JWT"}',),
        ]
    ),
)
BAD_SCHEMES = words(
    """Basic %  Token %  JWT %  Digest %  Bearer: %  Bearer=%  Bearer%  Bearer Bearer %  Bearer <%>
    Bearer token=%  "%"  '%'  [%]  %;  % x  x %  x,%  %,%  % %  %.%  Bearer x,%  Bearer %, Bearer %
    =%  %\xff  \xe9%  .%  %.  %!"""
)
GOOD_SCHEMES = [
    "%",
    "Bearer %",
    "bearer %",
    "BEARER %",
    "bEaReR %",
    "Bearer   %",
    "Bearer\t%",
    " % ",
]
JUNK = words(
    """,  , ,  Bearer  Bearer ,  Bearer , ,  Bearer a b  Bearer bearer  a.b.c  ...  ..  null  é
    Bearer null  Basic bG9yeTpsb3J5  \x85  \xa0  Bearer \xff.\xfe.\xfd"""
)
LETTERS = st.sampled_from([*"A.,= ", "\xff", "eyJ", "Bearer ", "W1tb", ", "])


def bent(token, place, letter, how):
    """Change one letter of a token, leave it out, or end the token there."""
    place %= len(token)
    letter = "_" if token[place] == letter else letter
    return token[:place] + {"other": letter + token[place + 1 :], "out": token[place + 1 :]}.get(
        how, ""
    )


def hostile_authorization(lorys, revoked):
    """Make what must not let anybody in; most of it has only one thing wrong."""
    claims = st.uuids().map(lambda jti: {**lorys, "jti": str(jti)})
    token = claims.map(lambda claims: signed(claims=claims))
    names = st.sets(st.sampled_from(NEEDED), min_size=1)

    def without(claims, names):
        return signed(claims={name: claims[name] for name in claims.keys() - names})

    def expired(claims, ago):
        return signed(claims={**claims, "exp": int(time.time()) - 12 - ago})

    def doubled(claims, name, value, key):
        return signed(claims=f'{json.dumps(claims)[:-1]}, "{name}": {value}}}'.encode(), key=key)

    worthless = st.sampled_from(["null", "[]", "{}", "NaN"])
    tokens = [
        st.builds(lambda good, bad: signed(claims={**good, **bad}), claims, ONE_BAD_CLAIM),
        st.builds(lambda good, bad: signed(claims={**good, **bad}), claims, ONE_BAD_CLAIM),
        st.builds(lambda good, bad: signed(claims={**good, **bad}), claims, BAD_CLAIMS_AT_ONCE),
        st.builds(without, claims, names),
        st.builds(expired, claims, st.integers(0, 10**9) | st.integers(0, 9)),
        st.builds(doubled, claims, st.sampled_from(NEEDED), worthless, st.just(KEY)),
        st.builds(doubled, claims, st.just("sub"), st.sampled_from(['"1"', '"2"']), OTHER_KEYS),
        st.builds(lambda one, good: signed(one[0], good, *one[1:]), FORGERIES, claims),
        st.builds(lambda one, good: signed(one[0], good, *one[1:]), FORGERIES, claims),
        st.builds(
            lambda alg, good: signed({"alg": alg}, good), st.sampled_from(BAD_ALGORITHMS), claims
        ).map(lambda token: token[: token.rindex(".") + 1]),
        NO_OBJECT.map(lambda part: signed(claims=part)),
        st.builds(
            signed,
            st.dictionaries(st.just("alg") | EVIL_NAMES, EVIL),
            st.dictionaries(st.sampled_from([*BAD_CLAIMS, "aud", "iss", "fresh"]), hostile_value),
            OTHER_KEYS,
        ),
        st.builds(
            bent,
            token,
            st.integers(0, 2000),
            st.sampled_from("Aa0_-.,! "),
            st.sampled_from(["other", "out", "end"]),
        ),
        st.builds(
            lambda scheme, token: scheme.replace("%", token), st.sampled_from(BAD_SCHEMES), token
        ),
        token.map(str.swapcase),
        token.map(lambda token: ".".join(token.split(".")[:2])),
        st.just(revoked),
    ]
    bearer = st.sampled_from(["", "Bearer ", "bearer  ", "BEARER\t"])
    repeated = st.builds(lambda letter, n: (letter * n)[:8000], LETTERS, st.integers(0, 8000))
    return st.one_of(
        st.builds("{}{}".format, bearer, st.one_of(tokens)).filter(lambda text: len(text) <= 8100),
        st.builds("{}{}".format, bearer, st.one_of(tokens)).filter(lambda text: len(text) <= 8100),
        st.builds("{}{}".format, bearer, visible | st.sampled_from(JUNK) | repeated),
    )


def readable(authorization):
    """Return header and claims of a token, where they can be read."""
    with suppress(ValueError, IndexError):
        return [decoded(part) for part in authorization.split()[-1].split(".")[:2]]
    return authorization


def test_authorization_headers(endpoints, wire, bombard, scale, snapshot, sql):
    """Only a token that this service made, and means, lets anybody in."""
    revoked = wire.token()
    header = [(b"Authorization", revoked.encode())]
    assert wire.post("/api/v1/platform/logout", b"", header)[:2] == (200, 0)
    ((jti,),) = sql("SELECT jti FROM revoked_tokens")
    before = snapshot()

    def refused(example):
        authorization, endpoint, body = example
        header = [(b"Authorization", authorization.encode("latin-1"))]
        reply = wire.post(endpoint.path, body, header)
        if reply[1] == 0:  # so that what let it in does so again when Hypothesis tries it again
            sql("DELETE FROM revoked_tokens WHERE jti != :jti", jti=jti)
        assert reply[:2] in NOBODY, (reply, readable(authorization))

    def accepted(scheme):
        header = [(b"Authorization", scheme.replace("%", wire.token()).encode())]
        assert wire.post("/api/v1/project/list", b"{}", header)[:2] == (200, 0)

    guarded = [endpoint for endpoint in endpoints if endpoint.wants_token]
    bodies = st.sampled_from([None, b"", b"{}", b"[", b'{"id": 1}', b"\0" * 20_000])
    hostile = hostile_authorization(wire.claims, revoked)
    examples = st.tuples(hostile, st.sampled_from(guarded), bodies)
    bombard("hostile Authorization headers", refused, examples, scale(75, 4800))
    bombard("good tokens, oddly spelt", accepted, st.sampled_from(GOOD_SCHEMES), scale(5, 200))
    assert snapshot() == before


# Addresses. Six zeros become a number, so that no address comes twice.

LONG = ".".join(["y" * 61] * 3)
ATOM = st.text("abcXYZ019_-+", min_size=1, max_size=12)
ODD_ATOM = st.text("abc019!#$%&'*+/=?^_`{|}~-", min_size=1, max_size=57)
LABELS = st.lists(st.from_regex("[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True), min_size=1)
TOPS = st.sampled_from(words("com  org  cn  co  museum  technology  xn--fiqs8s"))
DOMAIN = st.builds(lambda labels, top: ".".join([*labels, top]), LABELS, TOPS).filter(
    lambda domain: len(domain) < 200
)


def exactly(size):
    """Return an address of that many characters, whose local part is as long as it may be."""
    return f"000000{'x' * 58}@{LONG}.".ljust(size, "c")


GOOD_ADDRESSES = st.one_of(
    st.builds("000000{}@{}".format, ATOM, DOMAIN),
    st.builds("{}.000000.{}@{}".format, ATOM, ATOM, DOMAIN),
    st.builds("{}+000000@{}".format, ATOM, DOMAIN.map(str.upper)),
    st.integers(0, 58).map(lambda size: f"000000{'x' * size}@126.com"),
    st.sampled_from([exactly(253), exactly(254), "a@000000.com", f"000000@{'y' * 63}.com"]),
)
INJECTIONS = [f"{end}Bcc: x@y.com" for end in ("\r\n", "\n", "\r", "\r\n ", "\v", "\f", "\x85")]
INJECTIONS += [
    "\0",
    "\t",
    "\x7f",
    "\r\n\r\nhello",
    "\r\nRCPT TO:<x@y.com>",
    "\r\n.\r\nMAIL FROM:<>",
]
NO_ADDRESSES = words(
    """000000  @  @126.com  000000@  000000@@126.com  000000@.com  000000@126..com  000000 @b.com
    .000000@126.com  000000.@126.com  0..000000@126.com  000000@-b.com  000000@b-.com  000000@[x]
    000000 x@126.com  000000@126 .com  000000@ 126.com  000000@[127.0.0.1  000000@127.0.0.1]
    "000000@126.com  000000"@126.com  (000000@126.com  <000000@126.com>  000000@[]
    Lory <000000@126.com>  <a@b.com>,<000000@126.com>  <@x.com:000000@126.com>"""
)
NO_ADDRESSES += [" 000000@126.com", "000000@126.com ", "\ud800000000@126.com"]
BAD_ADDRESSES = st.one_of(
    st.builds(
        "{}{}{}".format,
        st.sampled_from(["", "000000", "000000@b", "000000@b.com"]),
        st.sampled_from(INJECTIONS),
        st.sampled_from(["", ".com", "@b.com", "a@b.com"]),
    ),
    st.integers(59, 300).map(lambda size: f"000000{'x' * size}@126.com"),
    st.integers(64, 300).map(lambda size: f"000000@{'y' * size}.com"),
    st.integers(255, 256).map(exactly),
    st.integers(124, 2000).map(lambda size: f"000000@{'y.' * size}com"),
    st.builds(
        "{}000000@126.com{}{}@y.com".format,
        ATOM,
        st.sampled_from([",", ", ", ";", " ", "@", ">,<", " or ", ",,", "\u3000", "\xa0"]),
        ATOM,
    ),
    st.sampled_from(NO_ADDRESSES),
)
ROUTES = words(
    """x%y.com%  y.com!  @x.com,@y.com:  x=y.com@  postmaster%  |  -  --  -oQ/tmp  /
    (note)  SRS0=  mailto:  &  $(id)  `id`  %s  {0}  ' OR 1=1 --"""
)
INSIDE = words(r'(note)  \@x  \  [x]  :  ;  ,x  <x>  "x"  ."x y".z  @x  /x=1/  +  ++  +x+y  %x@y')
INSIDE += ["ü", "用户", "ſ", "ﬁ", "\u200b", "\u202e", "\ufeff", "İ", "😀", "e\u0301"]
STRANGE_DOMAINS = words(
    """[127.0.0.1]  [IPv6:::1]  1.2.3.4  localhost  b  b.c  b.c0m  b.123  b_c.com  xn--bcher-kva.de
    xn--a.com  xn--.com  0x7f.1  bücher.de  126。com  126．com  ｂ.com  例え.jp  ß.de  K.com  b.cοm
    \u200b.com  b\u00ad.com"""
)
BEHIND_DOMAINS = words(
    """.  ..  (note)  :25  /x  ?x=1  #x  %x  !x  >  \\  '  ]  ,  ;  &  > ORCPT=rfc822;x  \u3000"""
)
BEHIND_DOMAINS += [" SIZE=1", " NOTIFY=NEVER"]
STRANGE_ADDRESSES = st.one_of(
    st.builds("000000{}@{}".format, ODD_ATOM, DOMAIN),
    st.builds('"000000{}"@{}'.format, st.text("ab \\,;:<>@()[].", max_size=12), DOMAIN),
    st.builds("{}000000@{}".format, st.sampled_from(ROUTES), DOMAIN),
    st.builds("000000{}@{}".format, st.sampled_from(INSIDE), DOMAIN),
    st.builds(
        "000000{}@{}".format, st.sampled_from(["", *INSIDE]), st.sampled_from(STRANGE_DOMAINS)
    ),
    st.builds("000000@{}{}".format, DOMAIN, st.sampled_from(BEHIND_DOMAINS)),
    st.builds("000000{}@{}".format, hostile_text, DOMAIN),
    st.builds("000000@{}.{}".format, hostile_text, TOPS),
    hostile_text.map("{}000000".format),
)
ADDRESSES = st.one_of(
    st.tuples(GOOD_ADDRESSES, st.just(SENT)),
    st.tuples(BAD_ADDRESSES, st.just(INVALID)),
    st.tuples(STRANGE_ADDRESSES, st.just(SENT | INVALID)),
)
LANGUAGES = st.sampled_from(
    [b"", b"zh", b"en", b"zh-CN,zh;q=0.9", b"*", b"zh;q=x", b"\xe9", b",;="]
)
MAIL_HEADERS = {"From", "To", "Subject", "Date", "Message-ID", "MIME-Version", "Content-Type"}


def test_addresses(wire, outbox, bombard, scale):
    """An address is refused, or gets exactly one mail, of which it is the one recipient."""
    number = count(100_000)

    def check(example):
        (template, expected), language = example
        n = str(next(number))
        address = template.replace("000000", n)
        outbox.reset()
        body = json.dumps({"user_name": f"u{n}", "email": address}).encode()
        reply = wire.post("/api/v1/auth-code", body, [(b"Accept-Language", language)])
        assert reply[:2] in expected, (reply, address)
        if reply[1]:
            assert not outbox.mails
            return
        (mail,) = outbox.mails
        assert [*outbox.codes] == [address]  # all that were named to the relay
        assert [to.addr_spec for to in mail["To"].addresses] == [address]
        assert mail.get_all("To") == [address]
        assert {*mail.keys()} <= MAIL_HEADERS

    examples = st.tuples(ADDRESSES, LANGUAGES)
    bombard("addresses asked to be mailed", check, examples, scale(40, 2000))
