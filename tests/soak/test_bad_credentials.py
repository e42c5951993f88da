"""Bad credentials: verify accepts only the key and the secret of a project."""

from __future__ import annotations

import base64

from fuzz import run_fuzz, visible
from hypothesis import strategies as st
from support.helpers import basic, code_of

SCHEMES = st.sampled_from(["Basic ", "basic ", "BASIC  ", "Basic", "Bearer ", "Digest ", ""])


def nearly(good):
    """Make Authorization headers; many are almost right."""
    pair = base64.b64decode(good.split()[1])
    changed = st.builds(
        lambda place, new: pair[:place] + new + pair[place + 1 :],
        st.integers(0, len(pair) - 1),
        st.binary(max_size=3),
    ).filter(lambda content: content != pair)
    content = changed | changed | st.binary(max_size=100) | st.just(pair.replace(b":", b""))
    texts = content.map(lambda content: base64.b64encode(content).decode())
    around = st.builds(lambda before, after: before + good + after, visible, visible)
    return st.one_of(
        visible,
        st.builds(str.__add__, SCHEMES, texts),
        around.filter(lambda header: header.strip() != good),
        st.sampled_from([f"{good}, {good}", f"Bearer {good.split()[1]}", good.split()[1]]),
    )


def test_only_the_right_key_and_secret_pass(person, sql, scale, tally, database_uri):
    project = person.create_project()
    good = basic(project["project_key"], project["project_secret"])

    def ask(header):
        headers = {"Authorization": header}
        return person.client.get("/api/v1/project/verify", headers=headers)

    def check(header):
        reply = ask(header)
        assert (reply.status_code, code_of(reply)) == (401, 1001), header
        assert reply.headers["WWW-Authenticate"].startswith("Basic")

    what = f"credentials at verify, {database_uri.partition(':')[0]}"
    run_fuzz(tally, what, check, nearly(good), scale(150, 5000))
    assert sql("SELECT request_total, request_count FROM projects") == [(0, 0)]
    assert ask(good).status_code == 204
