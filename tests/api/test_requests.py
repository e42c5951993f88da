"""Bad input gets its code and status, changes nothing, and never gets a 500."""

import json
from io import BytesIO

import pytest
from support.helpers import PASSWORD, code_of

from gateway.db import db

GOOD = {
    "/auth-code": {"user_name": "lory", "email": "lory@126.com"},
    "/register": {
        "user_name": "lory",
        "password": PASSWORD,
        "email": "lory@126.com",
        "reg_code": "6328",
    },
    "/login": {"user_name": "lory", "password": PASSWORD},
    "/project/create": {"project_type": 1, "project_name": "x"},
    "/project/list": {"user_id": 0, "page_no": 0, "page_size": 20},
    "/project/delete": {"id": 1},
    "/project/rotate": {"id": 1, "grace_hours": 0},
    "/project/edit": {"id": 1, "project_name": "x", "project_type": 1},
    "/project/usage": {"id": 1, "days": 30},
    "/platform/logout": {},
    "/platform/delete-account": {"password": PASSWORD},
    "/platform/email-code": {"email": "lory@126.com"},
    "/platform/change-email": {"password": PASSWORD, "email": "lory@126.com", "reg_code": "6328"},
    "/platform/change-password": {"old_password": PASSWORD, "new_password": PASSWORD},
    "/reset-code": {"email": "lory@126.com"},
    "/reset-password": {"email": "lory@126.com", "reg_code": "63280417", "password": PASSWORD},
}
OPTIONAL = {"user_id", "page_no", "page_size", "grace_hours", "days"}
BAD_TEXT = [None, 1, 1.5, True, [], {}, "a\0b", "a\x1fb", "a\x7fb", "a\x85b", "a\ud800b"]
BAD_INTEGER = [None, "1", "", 1.0, 2.5, True, False, [], {}, -1, 2**31, 2**63, 10**30]
BAD_NAMES = [
    *["", " ", "x" * 65, "a b", "a@b", "a/b", "a<b", "\u0301a", "a\u200bb", "😀", "a\u202eb"],
    *["\u3164", "\u1160", "\uffa0", "admin\ufe0f", "admin\u034f", "admin\u115f", "admin\U000e0100"],
]
BAD_EMAILS = [
    *["", "@", "lory", "lory@", "@126.com", "lory@localhost", "a@b", "a@.x..com", "a@b.com."],
    *["a@b.123", "a@b.c-", "a@[127.0.0.1]", "a@1.2.3.4", "ü@b.com", "a@bücher.de"],
    *['"a b"@b.com', '"a"@b.com', "a b@b.com", "a@b.com\n", "a@b.com,c@d.com", "Lory <a@b.com>"],
    *[".a@b.com", "a..b@b.com", "a@b@c.com", "x" * 65 + "@b.com"],
    *["a@" + "x" * 64 + ".com", "a@" + "x." * 130 + "com", "a@b." + "x" * 64, "a@b.x", "a@b.1c"],
    *["a@-b.co", "a@b-.co", "a@b..co", "a.@b.co", "=?x@b.co", "a@ü.co", "a@b.c\u212a"],
]
BAD_PASSWORD = [*BAD_TEXT, "", "x" * 129]
BAD = {
    "user_name": BAD_TEXT + BAD_NAMES,
    "email": BAD_TEXT + BAD_EMAILS,
    "password": [*BAD_PASSWORD, "1234567"],
    "old_password": BAD_PASSWORD,
    "new_password": [*BAD_PASSWORD, "1234567"],
    "reg_code": [*BAD_TEXT, "6" * 65],
    "project_name": [*BAD_TEXT, "", "  ", "x" * 129],
    "page_size": [*BAD_INTEGER, 0, 101],
    "grace_hours": [*BAD_INTEGER, 169],
    "days": [*BAD_INTEGER, 0, 401],
    **dict.fromkeys(["project_type", "user_id", "page_no", "id"], BAD_INTEGER),
}
# At login a name may also be an address. A password that is proved may be short.
PROVED = {"password": BAD_PASSWORD}
BY_PATH = {
    "/login": {"user_name": [*BAD_TEXT, "", " ", "x" * 255], **PROVED},
    "/platform/delete-account": PROVED,
    "/platform/change-email": PROVED,
}


def deep(levels):
    return json.loads('{"a":' * levels + "0" + "}" * levels)


BAD_BODIES = [
    *["null", "[]", "1", '"text"', "{", "{}}", "{'user_name': 1}", "user_name=lory&password=x"],
    *['{"page_no": NaN}', '{"page_no": Infinity}', '{"page_no": -Infinity}', '{"other": NaN}'],
    *['{"page_no": 1, "page_no": 1}', '{"other": {"a": 1, "a": 1}}', json.dumps(deep(21))],
    *['{"a":' * 3000, "[" * 16000, '{"a":' + "[" * 2000 + "]" * 2000 + "}"],
    *[b"\xff\xfe", b'{"user_name": "\xff"}'],
]


def snapshot(sql):
    tables = [table.name for table in db.metadata.sorted_tables]
    return [sorted(map(repr, sql(f"SELECT * FROM {table}"))) for table in tables]


@pytest.fixture
def world(sign_up, sql, relay):
    """A user with a project, and a function that tells whether nothing has changed since."""
    person = sign_up("person")
    person.create_project()
    before, mails = snapshot(sql), len(relay.mails)

    def is_unchanged():
        return snapshot(sql) == before and len(relay.mails) == mails

    person.world_is_unchanged = is_unchanged
    return person


def send(person, path, body):
    if isinstance(body, dict):
        body = json.dumps(body)
    headers = {"Authorization": person.token}
    return person.client.post(f"/api/v1{path}", data=body, headers=headers)


def test_bad_field_is_named(world):
    for path, good in GOOD.items():
        for field, bad in [(f, b) for f in good for b in (BAD | BY_PATH.get(path, {}))[f]]:
            reply = send(world, path, {**good, field: bad})
            case = (path, field, ascii(bad), reply.text)
            assert (reply.status_code, code_of(reply)) == (400, 1003), case
            assert field in reply.json["header"]["message"], case
            assert reply.json["data"] == {}
    assert world.world_is_unchanged()


def test_missing_field_is_named(world):
    optional = {("/project/edit", "project_name"), ("/project/edit", "project_type")}
    every = {(path, f) for path, good in GOOD.items() for f in good.keys() - OPTIONAL}
    for path, field in every - optional:
        body = {name: value for name, value in GOOD[path].items() if name != field}
        reply = send(world, path, body)
        assert (reply.status_code, code_of(reply)) == (400, 1004), (path, field)
        assert field in reply.json["header"]["message"]
    assert world.world_is_unchanged()


@pytest.mark.parametrize("number", ["1e400", "-1e400", "1E2", "1.0", "9" * 5000])
def test_number_that_is_not_an_integer_is_a_bad_field(world, number):
    reply = send(world, "/project/list", '{"page_no": ' + number + "}")
    assert (reply.status_code, code_of(reply)) == (400, 1003)


def test_all_bad_fields_are_named(world):
    body = {"user_name": "a b", "password": "short", "email": "nowhere", "reg_code": 6328}
    message = send(world, "/register", body).json["header"]["message"]
    for field in body:
        assert field in message


def test_bad_bodies(world):
    for path in GOOD:
        for body in BAD_BODIES:
            reply = send(world, path, body)
            case = (path, body[:60], reply.text)
            assert (reply.status_code, code_of(reply)) == (400, 1004), case
    assert world.world_is_unchanged()


def test_twenty_levels_of_nesting_are_allowed(world):
    assert code_of(send(world, "/project/list", deep(20))) == 0


@pytest.mark.parametrize("size", [16 * 1024, 16 * 1024 + 1, 16 * 1024 + 2, 100_000])
@pytest.mark.parametrize("chunked", [False, True])
def test_body_size(person, size, chunked):
    body = b'{"other": "' + b"x" * (size - 13) + b'"}'
    assert len(body) == size
    kwargs = {"data": body}
    if chunked:  # as gunicorn passes on a chunked body: without a length
        kwargs = {"input_stream": BytesIO(body), "environ_overrides": {"wsgi.input_terminated": 1}}
    reply = person.client.post(
        "/api/v1/project/list", headers={"Authorization": person.token}, **kwargs
    )
    expected = (200, 0) if size == 16 * 1024 else (413, 413)
    assert (reply.status_code, code_of(reply)) == expected


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded"])
def test_content_type_does_not_matter(person, content_type):
    reply = person.client.post(
        "/api/v1/project/list",
        data=b'{"page_size": 0}',
        content_type=content_type,
        headers={"Authorization": person.token},
    )
    assert code_of(reply) == 1003


def test_empty_body_means_empty_object(person):
    reply = person.client.post("/api/v1/project/list", headers={"Authorization": person.token})
    assert code_of(reply) == 0


def test_unknown_fields_are_ignored(person):
    other = {"text": "\u0000", "big": 2**70, "float": 1e308, "list": [1, None, {"a": True}]}
    assert code_of(person.post("/project/list", {"other": other})) == 0


@pytest.mark.parametrize(
    "name", ["x", "x" * 64, "中文_名-1.0", "éa", "हिन्दी", "ไทย", "٣", "  lory  ", "Ⅷ", "ﬁ"]
)
def test_good_user_names(api, name):
    reply = api("/auth-code", {"user_name": name, "email": "a@b.com"})
    assert code_of(reply) == 0


@pytest.mark.parametrize(
    "email",
    [
        *[
            "a@b.co",
            "A.b+c@Ex-ample.COM",
            "o'neil@x.org",
            "a@xn--bcher-kva.de",
            "%@b.com",
            "a@1.co",
        ],
        *["a@b.c1", "a@xn--p1ai.xn--p1ai", "!#$%&'*+/?=^_`{|}~-@b.co", f"a@b.{'y' * 63}"],
        "x" * 64 + "@" + ".".join(["y" * 61] * 3) + ".com",  # 254 characters
    ],
)
def test_good_addresses_arrive(api, relay, email):
    reply = api("/auth-code", {"user_name": "lory", "email": email})
    assert code_of(reply) == 0
    assert relay.mails[-1]["To"].addresses[0].addr_spec == email
