"""Bad credentials: verify accepts only the key and the secret of a project."""

from __future__ import annotations

import base64

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.helpers import basic, code_of, sqlite_only

printable = st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f")
line = st.text(printable, max_size=200)
schemes = st.sampled_from(["Basic ", "basic ", "BASIC  ", "Basic", "Bearer ", "Digest ", ""])
pools = st.none() | st.sampled_from(["", "blue", "BLUE", "-", "\0", "\ud800"]) | st.text()


def encoded(content):
    return base64.b64encode(content).decode()


def fuzz_headers(good):
    """Make Authorization headers; many are almost right."""
    pair = base64.b64decode(good.split()[1])
    changed = st.builds(
        lambda place, new: pair[:place] + new + pair[place + 1 :],
        st.integers(0, len(pair) - 1),
        st.binary(max_size=3),
    ).filter(lambda content: content != pair)
    content = st.one_of(
        changed,
        changed,
        st.binary(max_size=100),
        st.just(pair.replace(b":", b"")),
        st.integers(1, 8000).map(lambda size: pair.ljust(66, b"x")[:1] * size),
    )
    return st.one_of(
        line,
        st.builds(str.__add__, schemes, content.map(encoded)),
        st.builds(lambda before, after: before + good + after, line, line).filter(
            lambda header: header.strip() != good
        ),
        st.sampled_from([f"{good}, {good}", f"Bearer {good.split()[1]}", good.split()[1]]),
    )


def test_only_the_right_key_and_secret_pass(person, flask, sql, scale, tally, database_uri):
    project = person.create_project()
    flask("pool", "add", "blue")
    good = basic(project["project_key"], project["project_secret"])
    examples = scale(150, 5000)

    def ask(header, pool):
        query = None if pool is None else {"pool": pool.encode("utf-8", "surrogatepass")}
        return person.client.get(
            "/api/v1/project/verify", headers={"Authorization": header}, query_string=query
        )

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(fuzz_headers(good), pools, st.booleans())
    def run_fuzz(header, pool, own):
        if own:  # the right credentials for a pool that the project is not in
            header, pool = good, pool or "blue"
        reply = ask(header, pool)
        assert (reply.status_code, code_of(reply)) == (401, 1001), (header, pool)
        assert reply.headers["WWW-Authenticate"].startswith("Basic")

    run_fuzz()
    kind = database_uri.partition(":")[0]
    tally("bad input", f"credentials at verify, {kind}", examples)
    assert sql("SELECT request_total, request_count FROM projects") == [(0, 0)]
    assert ask(good, "").status_code == 204


@sqlite_only
def test_secret_of_another_project_does_not_pass(person, scale):
    made = [person.create_project() for _ in range(scale(4, 30))]
    for one in made:
        for other in made:
            reply = person.verify(one, secret=other["project_secret"])
            assert (reply.status_code == 204) == (one is other)
