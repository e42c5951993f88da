"""Shared by the tests of bad input: a connection that sends any bytes, and odd texts and values.

Hypothesis makes the input; gunicorn gets it over one keep-alive connection.
"""

from __future__ import annotations

import base64
import hmac
import json
import re
import uuid
from contextlib import suppress
from http.client import HTTPConnection
from io import BytesIO
from itertools import count, cycle

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from support.helpers import SECRET_KEY, TIMEOUT
from support.leak_check import leak_check

from gateway.crypto import derive_key
from gateway.db import db

INT32 = 2**31 - 1
# Allowed answers: HTTP status and code.
INVALID, NOBODY = {(400, 1003)}, {(401, 1001)}
INTERNALS = re.compile(
    r"Traceback|File \"|\b(SELECT|INSERT|UPDATE|DELETE|WHERE)\b|sqlalchemy|psycopg|sqlite|postgres"
    r"|marshmallow|werkzeug|[a-z]Error\b|Exception"
)
KEY = derive_key(SECRET_KEY, "jwt")
HEADER = {"alg": "HS256", "typ": "JWT"}


class RawConnection:
    """A keep-alive connection to a service with two users, who have one project each."""

    def __init__(self, start_service):
        service = start_service(workers=1)
        for user_name in ("other", "lory"):
            token = service.sign_up(user_name)
            project = {"project_type": 1, "project_name": "我的ChatGPT项目"}
            assert service.post("/project/create", project, token)[1] == 0
        self.claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
        self.connection = HTTPConnection("127.0.0.1", service.port, timeout=TIMEOUT)
        self.clients = count(1)

    def post(self, path, body, headers=(), chunks=()):
        """Send one request, in chunks if ``chunks`` has sizes; return status, code and message."""
        n = next(self.clients)  # its own address each, as one may fail only 50 times
        headers = {"X-Forwarded-For": f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}", **dict(headers)}
        if chunks:
            headers["Transfer-Encoding"], body = "chunked", in_chunks(body, chunks)
        kept = self.connection.sock is not None
        if not kept:
            self.connection.connect()
        try:
            with suppress(ConnectionError):  # it may answer and close before it has read all
                self.connection.request("POST", path, body, headers)
            reply = self.connection.getresponse()
            return checked(reply, reply.read())
        except ConnectionError:
            self.connection.close()
            if not kept:
                raise
            return self.post(path, body, headers)  # the server had closed the idle connection

    def close(self):
        self.connection.close()

    def token(self):
        """Return a valid token that has not been used."""
        token = signed({**self.claims, "jti": str(uuid.uuid4())})
        leak_check.add_secret(token)
        return token


def in_chunks(body, sizes):
    """Encode a body in chunks of these sizes, about a hundred chunks at most."""
    parts, stream = [], BytesIO(body)
    for size in cycle(sizes):
        part = stream.read(max(size, len(body) // 100))
        parts.append(b"%x\r\n%b\r\n" % (len(part), part))
        if not part:
            break
    return b"".join(parts)


def checked(reply, content):
    """Check the rules for every reply; return status, code and message."""
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
    leak_check.add_secrets_in(data)
    return reply.status, code, message


def signed(claims, header=HEADER, key=KEY, digest="sha256"):
    """Sign any value or bytes as claims and header, also those that PyJWT refuses."""
    parts = [p if isinstance(p, bytes) else json.dumps(p).encode() for p in (header, claims)]
    text = ".".join(map(base64url, parts))
    return f"{text}.{base64url(hmac.digest(key, text.encode(), digest))}"


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def endpoints(app, raw_connection):
    """Return (path, fields, whether a token is needed) of each endpoint with a body."""
    views = {rule.rule: app.view_functions[rule.endpoint] for rule in app.url_map.iter_rules()}
    found = {path: view.schema() for path, view in views.items() if hasattr(view, "schema")}
    assert len(found) >= 7
    return [(p, found[p].fields, raw_connection.post(p, b"{}")[:2] in NOBODY) for p in found]


def snapshot(sql):
    """Read every row of every table."""
    tables = [table.name for table in db.metadata.sorted_tables]
    return {table: sorted(map(repr, sql(f"SELECT * FROM {table}"))) for table in tables}


def run_fuzz(tally, what, check, examples, wanted):
    """Check at least ``wanted`` examples of Hypothesis, and count them in the table."""
    tried, lost = 0, ["the example that Hypothesis shows"]

    def attempt(example):
        nonlocal tried
        tried += 1
        check(example)

    try:
        while tried < wanted:  # Hypothesis may end early
            settings(
                max_examples=wanted - tried,
                deadline=None,
                database=None,
                report_multiple_bugs=False,
                phases=[Phase.generate, Phase.shrink],
                suppress_health_check=list(HealthCheck),
            )(given(examples)(attempt))()
        lost.clear()
    finally:
        with suppress(AssertionError):  # the first error says more
            tally("bad input", what, tried, lost)


def words(text):
    """Split at line ends and at two spaces."""
    return re.split(r"\n *|  +", text.strip("\n "))


CONTROLS = [chr(c) for c in (*range(0x20), *range(0x7F, 0xA0))]
SURROGATES = ["\ud800", "\udbff", "\udc00", "\udfff"]
FRAGMENTS = words(
    """' OR 1=1 --  '; DROP TABLE users; --  1) UNION SELECT 1  %s%s%n  %(name)s  {0}  {{7*7}}
    {self.__class__}  ${jndi:ldap://x/a}  $(id)  \\  '  "  NaN  null  ../../etc/passwd  <script>
    \u202e  \u200b  \ufeff  \uffff  \U0010ffff  e\u0301"""
)
FRAGMENTS += ["ﷺ" * 64, "i\u0307" * 9]
# Equal after NFKC or casefold: to "lory", to his address, or to each other.
TWINS = words(
    """LORY  ｌｏｒｙ  𝓵𝓸𝓻𝔂  \u3000lory  l\u200bory  lory@126.com  LORY@126.COM  lory＠126.com
    lory@126。com  ſ@126.com  ſtraße  STRASSE  Ⅷ  ﬁ  İ  ı  ǰ  \u0345"""
)
TWINS += [" lory ", "ẞ" * 33]

fuzz_text = st.text(st.characters(codec=None), max_size=80) | st.sampled_from(
    FRAGMENTS + TWINS + CONTROLS + SURROGATES
)
fuzz_number = (
    st.integers()
    | st.floats()
    | st.sampled_from([INT32, 2**31, -(2**31), 2**32, 2**53 + 1, 2**63, 2**64, 10**400])
)
fuzz_value = st.recursive(
    st.none() | st.booleans() | fuzz_number | fuzz_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(fuzz_text, inner, max_size=3),
    max_leaves=6,
)
# What a header may contain; gunicorn itself refuses anything else.
visible = st.text(
    st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=200
)
