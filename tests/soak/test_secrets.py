"""Neither a log nor a copy of the database reveals a secret."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from sqlalchemy import MetaData, create_engine
from support.helpers import PASSWORD, SECRET_KEY, sqlite_only
from support.leak_check import LeakCheck

from gateway import crypto

ALL_CODES = [f"{n:04}" for n in range(10_000)]


@pytest.mark.parametrize(
    "line",
    [
        "the secret is Ab3Cd5Ef7Gh9.",
        "{'project_secret': 'Ab3Cd5Ef7Gh9'}",
        "GET /?token=eyJhbGc.eyJzdWI.x-Y_z12 HTTP/1.1",
        "Authorization: Bearer eyJhbGc.eyJzdWI.x-Y_z12",
        'code "4711081500"',
    ],
)
def test_leak_check_finds_a_secret_in_a_log(line):
    check = LeakCheck()
    check.add_secrets_in({"data": {"list": [{"project_secret": "Ab3Cd5Ef7Gh9"}]}})
    check.add_secrets_in({"auth_token": "eyJhbGc.eyJzdWI.x-Y_z12"})
    check.add_secret("4711081500")
    check.add_log("nothing in Ab3Cd5Ef7Gh nor in 4711081500123")
    assert check.leaks() == []
    check.add_log(line)
    assert check.leaks() == [line + "\n"]


@pytest.fixture
def stolen(make_app, sign_up, relay, sqlite_uri):
    """What a thief of the database gets, and the secrets that were stored in it."""
    app = make_app(REG_CODE_DIGITS=4)
    person = sign_up(client=app.test_client())
    secret = person.create_project()["project_secret"]
    person.post("/platform/logout")
    body = {"user_name": "new", "email": "new@126.com"}
    app.test_client().post("/api/v1/auth-code", json=body)
    path = Path(sqlite_uri.removeprefix("sqlite:///"))
    files = b"".join(file.read_bytes() for file in path.parent.glob(path.name + "*"))
    engine = create_engine(sqlite_uri)
    schema = MetaData()
    schema.reflect(engine)
    with engine.connect() as connection:
        rows = {name: connection.execute(t.select()).all() for name, t in schema.tables.items()}
    engine.dispose()
    return app, files, rows, person, secret, relay.codes["new@126.com"]


@sqlite_only
def test_copied_database_shows_no_secret(stolen, tally):
    _app, files, rows, person, secret, code = stolen
    assert b"lory@126.com" in files  # other data can be read
    texts = (secret, PASSWORD, person.token, SECRET_KEY)
    found = [text for text in texts if text.encode() in files]
    found += {str(value) for table in rows.values() for row in table for value in row} & {code}
    tally("secrets", "secrets looked for in a copy of the database", 5, found)


@sqlite_only
def test_copied_database_cannot_decrypt_a_project_secret(stolen, tally):
    app, _files, rows, _person, secret, _code = stolen
    ((sealed,),) = [[row.sealed_secret] for row in rows["projects"]]
    keys = {str(value) for table in rows.values() for row in table for value in row}
    opened = []
    with app.app_context():
        assert crypto.unseal([sealed]) == [secret]
        for key in (*keys, "", "x" * 32):
            app.config["SECRET_KEY"] = key
            opened += [key] if crypto.unseal([sealed]) != [None] else []
    tally("secrets", "keys tried on a sealed project secret", len(keys) + 2, opened)


@sqlite_only
def test_copied_database_does_not_reveal_a_code(stolen, tally):
    """A code has so few digits that its unkeyed hash would be as good as the code."""
    app, _files, rows, _person, _secret, code = stolen
    ((purpose, email, stored),) = [
        (row.purpose, row.email_key, row.code_hash) for row in rows["mail_codes"]
    ]
    assert (purpose, email) == ("register", "new@126.com")
    parts = [[], [email], [purpose, email], [email, purpose], [purpose]]
    plain = [
        hashlib.sha256(joint.join([*part, code]).encode()).hexdigest()
        for code in ALL_CODES
        for part in parts
        for joint in ("", "\0", ":", "|", " ")
    ]
    with app.app_context():
        opens = [
            code
            for code in ALL_CODES
            if crypto.keyed_hash("mail-code", purpose, email, code) == stored
        ]
        assert opens == [code]  # with the key it is easy
        app.config["SECRET_KEY"] = "what the thief makes up, as the copy does not hold it"
        keyed = [crypto.keyed_hash("mail-code", purpose, email, code) for code in ALL_CODES]
    tries = plain + keyed
    tally("secrets", "hashes tried on a stored code", len(tries), [h for h in tries if h == stored])
