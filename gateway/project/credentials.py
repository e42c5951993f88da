"""Read a project's key and secret from the headers of a request.

A client sends them in one of four forms, which mean the same. KEY.SECRET is the key, a dot and the
secret. Of a path only its beginning counts: /rpc/KEY.SECRET, /blue/ws/KEY.SECRET/more. nginx takes
it from there itself, and sends it here as X-API-Key.
"""

from __future__ import annotations

import base64
import re
from urllib.parse import unquote

from werkzeug.datastructures import Headers

from gateway.errors import ApiError, Code

_DOTTED = re.compile(r"([A-Za-z0-9]{16})[.]([A-Za-z0-9]{48})")
_BEARER = re.compile(r"bearer +(\S+)", re.IGNORECASE | re.ASCII)
# 16 and 48 characters are 65 with the colon, and 88 in base64.
_BASIC = re.compile(r"basic +([A-Za-z0-9+/]{87}=)", re.IGNORECASE | re.ASCII)
_IN_PATH = re.compile(rf"/(?:/|[a-z0-9-]+/)?(?:rpc|ws)/({_DOTTED.pattern})(?=[/?]|$)")
_IN_TEXT = re.compile(rf"(?<![A-Za-z0-9]){_DOTTED.pattern}(?![A-Za-z0-9])")
_USER_AND_PASSWORD = re.compile(rb"([A-Za-z0-9]{16}):([A-Za-z0-9]{48})")


def read(headers: Headers, target: str = "") -> tuple[str, str]:
    """Return the key and the secret that a request sends.

    :param target: path and query of the client's request, as they were sent.

    The same pair in two places counts once. Anything else beside a right pair is refused, because
    nobody could tell which of the two was meant.

    :raises ApiError: 1001 when there are none, when they are malformed, or when there are two.
    """
    in_path = _IN_PATH.match(target)
    rest = target[in_path.end() :] if in_path else target
    dotted = headers.get("X-API-Key"), in_path and in_path[1]
    pairs = {_from_dotted(text) for text in dotted if text}
    if authorization := headers.get("Authorization"):
        pairs.add(_from_authorization(authorization))
    pair = pairs.pop() if len(pairs) == 1 else None
    # One in another place or spelling would reach the team's servers.
    if pair is None or (rest and _IN_TEXT.search(unquote(rest))):
        raise refusal()
    return pair


def _from_dotted(text: str) -> tuple[str, str] | None:
    pair = _DOTTED.fullmatch(text)
    return (pair[1], pair[2]) if pair else None


def _from_authorization(text: str) -> tuple[str, str] | None:
    """Return the pair; refuse a spelling of base64 that no encoder writes.

    65 bytes leave two bits unused, so four texts stand for one pair.
    """
    if bearer := _BEARER.fullmatch(text):
        return _from_dotted(bearer[1])
    basic = _BASIC.fullmatch(text)
    content = base64.b64decode(basic[1]) if basic else b""
    pair = _USER_AND_PASSWORD.fullmatch(content)
    if basic is None or pair is None or base64.b64encode(content).decode() != basic[1]:
        return None
    return pair[1].decode(), pair[2].decode()


def refusal() -> ApiError:
    """Return the refusal of credentials; it does not say what is wrong with them."""
    return ApiError(
        Code.UNAUTHENTICATED,
        "The project key or secret is wrong, or not for this end point; project/list shows them."
        " Send them as HTTP Basic, as Authorization: Bearer KEY.SECRET, as X-API-Key: KEY.SECRET,"
        " or in the path after the end point: /rpc/KEY.SECRET",
        headers={"WWW-Authenticate": 'Basic realm="gateway"'},
    )
