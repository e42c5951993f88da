"""Credentials at verify: three forms that mean the same, each in one spelling."""

import base64

import pytest
from support.helpers import basic, code_of, forms

PATH = "/api/v1/project/verify"
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


@pytest.fixture
def database_uri(sqlite_uri):
    """One kind of database is enough: verify's tests try the statement on both."""
    return sqlite_uri


@pytest.fixture
def counts(sql):
    """Return a function that returns how often each project was counted."""
    return lambda: [row[0] for row in sql("SELECT request_total FROM projects ORDER BY id")]


@pytest.fixture
def ask(client):
    """Return a function that asks verify with these headers; return the status."""
    return lambda headers: client.get(PATH, headers=headers).status_code


def test_each_form_is_counted_once_in_one_statement(client, project, counts, statements):
    statements()
    for headers in forms(project).values():
        reply = client.get(PATH, headers=headers)
        assert (reply.status_code, reply.headers["X-Gateway-Key"]) == (204, project["project_key"])
        assert [text.split()[:2] for text in statements()] == [["UPDATE", "projects"]]
    assert counts() == [3]


def test_schemes_in_any_case(ask, project):
    for form in ("basic", "bearer"):
        scheme, text = forms(project)[form]["Authorization"].split()
        for written in (scheme.lower(), scheme.upper(), f"{scheme} "):
            assert ask({"Authorization": f"{written} {text}"}) == 204


def test_one_credential_in_two_headers_counts_once(ask, project, counts):
    both = forms(project)
    assert ask({**both["basic"], **both["x-api-key"]}) == 204
    assert ask({**both["bearer"], **both["x-api-key"]}) == 204
    assert ask({"Authorization": "", **both["x-api-key"]}) == 204
    assert counts() == [3]


def test_two_credentials_are_refused(ask, person, project, counts, statements):
    other = person.create_project()
    ours, theirs = forms(project), forms(other)
    token = {"Authorization": f"Bearer {person.token}"}
    malformed = {"Authorization": "Basic x"}
    statements()
    for authorization in (theirs["basic"], theirs["bearer"], token, malformed):
        assert ask({**authorization, **ours["x-api-key"]}) == 401
    wrong = {"X-API-Key": f"{project['project_key']}.{'x' * 48}"}
    assert ask({**ours["basic"], **wrong}) == 401
    assert ask({**ours["bearer"], "X-API-Key": "x"}) == 401
    assert statements() == []
    assert counts() == [0, 0]


def test_base64_has_one_spelling(ask, project, counts):
    good = forms(project)["basic"]["Authorization"]
    start = ALPHABET.index(good[-2])
    passed = {}
    for spare_bits in range(1, 4):
        other = good[:-2] + ALPHABET[start + spare_bits] + "="
        assert base64.b64decode(other.split()[1]) == base64.b64decode(good.split()[1])
        passed[other] = ask({"Authorization": other})
    assert set(passed.values()) == {401}
    assert ask({"Authorization": good}) == 204
    assert counts() == [1]


def spellings(key, secret):
    """Return texts that are nearly KEY.SECRET."""
    good = f"{key}.{secret}"
    return [
        *["", ".", key, f"{key}.", f".{secret}", secret, f"{secret}.{key}", f"{key}{secret}"],
        *[f"{key}:{secret}", f"{key}..{secret}", f"{good}.", f".{good}", f"{good}.{secret}"],
        *[f"{key}%2e{secret}", f"{key} .{secret}", f"{key}. {secret}", f"{good},{good}"],
        *[good[:-1], f"{good}x", good[1:], f"x{good}", f"{key}/{secret}", f"{good}/.."],
        *[f'"{good}"', f"{good[:-1]}é", f"{good[:-1]}-", f"{good[:-1]}\0", f"{good}\x0b"],
        *[f"../{good}", f"{good}\xa0", "x" * 8100],
    ]


def headers_of(project, token):
    """Yield headers that are nearly those of the project."""
    key, secret = project["project_key"], project["project_secret"]
    good = basic(key, secret)
    pairs = [f"{key}:{secret}:", f"{key}{secret}", f"{key[:-1]}é:{secret}", f"{key[1:]}:{secret}s"]
    pairs += ["\0" * 16 + f":{secret}", "\xff" * 16 + ":" + "\xfe" * 48, ":"]
    for text in spellings(key, secret):
        yield {"X-API-Key": text}
        for scheme in ("", "Bearer ", "Basic ", "Digest "):
            yield {"Authorization": f"{scheme}{text}"}
        pairs += [text] if text != f"{key}:{secret}" else []
    for pair in pairs:
        yield {"Authorization": "Basic " + base64.b64encode(pair.encode("latin-1")).decode()}
    written = [good.replace("Basic", "Bearer"), good[6:], f"{good}, {good}", f"{good}\x0c"]
    for text in (*written, token, f"Bearer {token}", "Basic " + "A" * 10240, "Basic !!!!"):
        yield {"Authorization": text}
    yield from ({"X-API-Key": token}, {"Cookie": f"x={token}"}, {})


def test_bad_spellings(client, person, project, counts, statements, caplog):
    caplog.clear()
    statements()
    for headers in headers_of(project, person.token):
        reply = client.get(PATH, headers=headers)
        assert (reply.status_code, code_of(reply)) == (401, 1001), headers
    given = forms(project)["x-api-key"]["X-API-Key"]
    assert client.get(PATH, query_string={"key": given}).status_code == 401
    assert statements() == []
    assert counts() == [0]
    assert project["project_secret"] not in caplog.text


def test_a_refusal_names_the_ways_to_send_a_key(client):
    reply = client.get(PATH)
    for way in ("HTTP Basic", "Authorization: Bearer KEY.SECRET", "X-API-Key: KEY.SECRET"):
        assert way in reply.json["header"]["message"]
    assert "/rpc/KEY.SECRET" in reply.json["header"]["message"]
    assert reply.headers["WWW-Authenticate"] == 'Basic realm="gateway"'
