"""Bad tokens: the API accepts only tokens that the service itself has issued."""

from __future__ import annotations

import re
import time
from contextlib import closing
from operator import mul

import pytest
from fuzz import (
    HEADER,
    INT32,
    KEY,
    NOBODY,
    RawConnection,
    endpoints,
    fuzz_text,
    fuzz_value,
    run_fuzz,
    signed,
    snapshot,
    visible,
    words,
)
from hypothesis import strategies as st
from support.helpers import SECRET_KEY

from gateway.crypto import derive_key

# Hypothesis describes each strategy in a text, which is long for these values.
pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")

MOST = 8100  # characters of a header; gunicorn itself refuses longer ones
GOOD_SCHEMES = words("%  Bearer %  bearer %  BEARER %  bEaReR %  Bearer\t%")
GOOD_SCHEMES += ["Bearer   %", " % "]
BAD_SCHEMES = words(
    """,%  %,  %,%  Bearer ,%  Bearer %,  Bearer x,%  Bearer\xa0%  \x85%  %\xff  %=  .%  %.  %.%
    Basic %  Token %  Bearer: %  Bearer=%  Bearer%  Bearer Bearer %  Bearer <%>  % x  x %"""
)
JUNK = words(",  , ,  Bearer  Bearer ,  Bearer , ,  Bearer a b  a.b.c  ...  null  é  \x85  \xa0")
JUNK += ["", " ", "Bearer ", "Basic bG9yeTpsb3J5", "Bearer \xff.\xfe.\xfd"]
ALGORITHMS = words("none  None  NONE  nOnE  hs256  HS384  HS512  RS256  EdDSA")
ALGORITHMS += ["", "HS256 ", "HS256\0", None, 0, True, [], ["HS256"], {"alg": "HS256"}]
OTHER_KEYS = [SECRET_KEY.encode(), derive_key(SECRET_KEY, "mail-code"), KEY[:-1], b"\0"]
NO_USERS = words("0000000001  01  １  ٢  +1  1.0  0x1  1_0  lory")
NO_USERS += ["", "1\0", " 1", "1 ", "1\n"]
NO_USERS += map(str, [0, -1, 3, INT32, 2**31, 2**32 + 1, 2**63, 2**64 + 1, 10**1000])

NO_ATOM = st.sampled_from([[], [1], ["1"], {}, {"a": "1"}])
NO_TEXT = st.none() | st.booleans() | st.floats() | st.integers() | NO_ATOM
NO_TIME = st.none() | st.booleans() | st.floats() | fuzz_text | NO_ATOM
NO_TIME |= st.integers(max_value=-1) | st.integers(min_value=10**11)
NO_TIME |= st.sampled_from(["9999999999", 9999999999.0, 2**63, 10**400])
BAD_CLAIMS = {
    "generation": NO_TIME | st.integers(min_value=1) | st.just(0.0),
    "exp": NO_TIME,
    "iat": NO_TIME,
    "nbf": st.integers(min_value=10**11) | st.just("soon") | NO_ATOM,
    "jti": NO_TEXT
    | st.integers(37, 4000).map("j".__mul__)
    | fuzz_text.filter(lambda text: not re.fullmatch(r"[\w-]{1,36}", text, re.ASCII)),
    "sub": NO_TEXT
    | st.sampled_from(NO_USERS)
    | fuzz_text.filter(lambda text: text not in ("1", "2")),
    "type": st.just("refresh"),
}
NO_CLAIMS = st.one_of(
    st.binary(max_size=300),
    fuzz_value,
    st.builds(mul, st.sampled_from([b"[", b'{"a":', b"9"]), st.integers(1, 1000)),
    st.sampled_from([b"9" * 5000, b"[" * 5000, b"null", b"{'sub': '1'}", b"\xff\xfe{\0}\0"]),
)
EVIL_HEADERS = st.dictionaries(
    st.sampled_from(words("alg  typ  kid  jku  jwk  x5u  crit  zip  enc  b64  cty")),
    fuzz_value | st.sampled_from(["HS256", "none", "DEF", "/dev/null", ["b64"], ["exp"]]),
)


def listed(claims, revoked):
    """Return tokens with one fault each."""
    now, good = int(time.time()), signed(claims)
    return [
        revoked,
        good[: good.rindex(".")],
        good.swapcase(),
        *(
            signed({k: claims[k] for k in claims if k != name})
            for name in ("exp", "iat", "jti", "sub", "generation")
        ),
        *(signed({**claims, "exp": now - ago}) for ago in (12, 60, now)),
        *(signed({**claims, "jti": jti}) for jti in ("", "a b", "\0", "\ud800", "j" * 37)),
        *(signed({**claims, "sub": sub}) for sub in NO_USERS),
        *(signed(claims, key=key) for key in OTHER_KEYS),
        *(signed(claims, {"alg": alg}) for alg in ALGORITHMS),
        *(signed(claims, {"alg": alg}).rpartition(".")[0] + "." for alg in ALGORITHMS),
        *(signed(claims, {"alg": f"HS{n}"}, KEY, f"sha{n}") for n in (384, 512)),
        signed(claims, HEADER, KEY, "sha512"),
        signed(claims, {**HEADER, "b64": False, "crit": ["b64"]}),
        signed(claims, b'{"alg":"HS256","alg":"none"}'),
        signed(claims, b'{"typ":"JWT"}'),
    ]


def tampered(token, place, new):
    """Replace a letter, but not the last one, because some of its bits are ignored."""
    place %= len(token) - 1
    return token[:place] + new.replace(token[place], "~") + token[place + 1 :]


def fuzz_headers(claims):
    """Make Authorization headers; most have only one fault."""
    one_bad = st.sampled_from(sorted(BAD_CLAIMS)).flatmap(
        lambda name: BAD_CLAIMS[name].map(lambda bad: signed({**claims, name: bad}))
    )
    good = signed(claims)
    place = st.integers(0, len(good))
    token = st.one_of(
        one_bad,
        one_bad,
        NO_CLAIMS.map(signed),
        NO_CLAIMS.map(lambda header: signed(claims, header)),
        st.builds(
            signed,
            st.just(claims),
            EVIL_HEADERS,
            st.sampled_from(OTHER_KEYS) | st.binary(min_size=1),
        ),
        st.builds(tampered, st.just(good), place, st.sampled_from([*"Aa0_-.,! ", ""])),
        place.map(lambda place: good[: place - 1]),
        st.builds(
            mul, st.sampled_from([*"A.,= ", "\xff", "Bearer ", "W1tb"]), st.integers(0, MOST)
        ),
        visible,
    )
    return st.builds("{}{}".format, st.sampled_from(["", "Bearer "]), token).map(lambda x: x[:MOST])


def test_only_a_valid_token_is_accepted(app, start_service, sql, scale, tally, request):
    """Only a valid token of this service is accepted."""
    with closing(RawConnection(start_service)) as raw_connection:
        guarded = [path for path, _, guarded in endpoints(app, raw_connection) if guarded]

        def answer(authorization, path="/api/v1/project/list", body=b"{}"):
            return raw_connection.post(path, body, {"Authorization": authorization})[:2]

        revoked = raw_connection.token()
        assert answer(revoked, "/api/v1/platform/logout") == (200, 0)
        before = snapshot(sql)
        for scheme in GOOD_SCHEMES:
            assert answer(scheme.replace("%", raw_connection.token())) == (200, 0), scheme
        for scheme in BAD_SCHEMES:
            assert answer(scheme.replace("%", raw_connection.token())) in NOBODY, scheme
        for authorization in JUNK + listed(raw_connection.claims, revoked):
            assert answer(authorization) in NOBODY, authorization

        def check(example):
            assert answer(*example) in NOBODY

        bodies = st.sampled_from([b"{}", b"[", b'{"id": 1}', b"\0" * 20_000])
        examples = st.tuples(fuzz_headers(raw_connection.claims), st.sampled_from(guarded), bodies)
        what = f"odd Authorization headers, {request.node.callspec.id}"
        run_fuzz(tally, what, check, examples, scale(40, 5000))
        assert snapshot(sql) == before
