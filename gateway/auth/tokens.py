"""Issue tokens, and check the token of a request."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from functools import wraps
from typing import Any, NamedTuple

import jwt
from flask import Flask, Response, current_app, g, request
from flask_jwt_extended import JWTManager, create_access_token
from sqlalchemy import and_, bindparam, exists, or_, select
from werkzeug.exceptions import HTTPException

from gateway import clock, crypto, log
from gateway.auth.models import RevokedToken, User
from gateway.db.hot_sql import HotStatement
from gateway.errors import ApiError, Code
from gateway.settings import INT32_MAX
from gateway.web.reply import View

ALGORITHM = "HS256"
LIFETIME = timedelta(hours=12)
# PyJWT would compare these with the system's clock; ``_is_current`` compares them with ours.
_UNCHECKED: Any = {"verify_exp": False, "verify_iat": False, "verify_nbf": False}
_TOKEN = re.compile(r"\s*(?:bearer\s+)?([\w-]+\.[\w-]+\.[\w-]+)\s*", re.ASCII | re.IGNORECASE)

# The claims sub, jti, generation, iat and exp as repr writes them; databases store no later times.
_FORM = re.compile(r"'[1-9]\d{0,9}' '[\w-]{1,36}' \d{1,10} \d{1,11} \d{1,11}", re.ASCII)

_jti = bindparam("jti", type_=RevokedToken.jti.type)
#: The filter for the account of a token that is not revoked; ``given()`` returns its values.
IS_CALLER = and_(
    User.id == bindparam("id", type_=User.id.type),
    User.is_banned.is_(False),
    or_(
        User.token_generation == bindparam("generation", type_=User.token_generation.type),
        User.kept_jti == _jti,
    ),
    ~exists().where(RevokedToken.jti == _jti),
)
_FIND_CALLER = HotStatement(
    select(User.id, User.is_admin, User.password_hash, User.token_generation).where(IS_CALLER)
)


class Caller(NamedTuple):
    """The account of the request's token, as it was when the token was checked, and the token.

    ``expires`` is the token's ``exp``, in unix seconds.
    """

    id: int
    is_admin: bool
    password_hash: str
    token_generation: int
    jti: str
    expires: int


def init_app(app: Flask) -> None:
    """Set up Flask-JWT-Extended. No operator should change these settings."""
    app.config.update(
        JWT_SECRET_KEY=crypto.derive_key(app.config["SECRET_KEY"], "jwt"),
        JWT_ALGORITHM=ALGORITHM,
        JWT_ENCODE_NBF=False,
        JWT_COOKIE_CSRF_PROTECT=False,  # otherwise each token has a claim that only cookies need
    )
    JWTManager(app)


def issue(user: User, issued_at: datetime) -> str:
    """Return a token with the ``claim_`` fields that clients read, and the registered claims."""
    iat = int(issued_at.timestamp())
    expire = iat + int(LIFETIME.total_seconds())
    claims = {
        "claim_alias": user.user_name,
        "claim_expire": expire,
        "claim_iat": iat,
        "claim_id": user.id,
        "claim_is_admin": user.is_admin,
        "claim_phone_number": "",
        "claim_username": user.user_name,
        "generation": user.token_generation,
        "iat": iat,
        "exp": expire,
    }
    return str(create_access_token(str(user.id), additional_claims=claims))


def signed_in(view: View) -> View:
    """Require a valid token; without one, the caller gets 1001 and the view is not called."""

    @wraps(view)
    def checked(*args: Any, **kwargs: Any) -> Response:
        caller()
        return view(*args, **kwargs)

    return signed_in_by_view(checked)  # type: ignore[return-value]


def signed_in_by_view(view: View) -> View:
    """Require a token that we signed; the view itself asks the database whether it is revoked.

    A refusal of the view's, such as that of its body, comes after that of a revoked token.
    """

    @wraps(view)
    def with_token(*args: Any, **kwargs: Any) -> Response:
        g.claims = _read(request.headers.get("Authorization", ""))
        try:
            return view(*args, **kwargs)
        except (ApiError, HTTPException):
            caller()
            raise

    with_token.wants_token = True  # type: ignore[attr-defined]
    return with_token  # type: ignore[return-value]


def given() -> dict[str, Any]:
    """Return what the request's token says: ``id``, ``generation`` and ``jti``."""
    claims = g.claims
    return {"id": int(claims["sub"]), "generation": claims["generation"], "jti": claims["jti"]}


def caller() -> Caller:
    """Return the account of the request's token.

    :raises ApiError: 1001 when the token is revoked, or its account is banned or gone.
    """
    if "caller" not in g:
        row = _FIND_CALLER.first(given())
        if row is None:
            raise ApiError(Code.UNAUTHENTICATED)
        log.note(user=row.id)
        g.caller = Caller(**row._asdict(), jti=g.claims["jti"], expires=g.claims["exp"])
    caller: Caller = g.caller
    return caller


def _read(authorization: str) -> dict[str, Any]:
    """Return the claims of a token that we signed and that has not expired.

    PyJWT, on which Flask-JWT-Extended stands, decodes it. The extension's own ``decode_token``
    decodes each token three times, because a key may depend on the token, and takes 100 us more.

    :param authorization: ``Bearer <token>``, or the bare token, which clients also send.
    :raises ApiError: 1001.
    """
    written, key = _TOKEN.fullmatch(authorization), current_app.config["JWT_SECRET_KEY"]
    try:
        claims = jwt.decode(written[1] if written else "", key, [ALGORITHM], options=_UNCHECKED)
    except jwt.PyJWTError:
        claims = {}
    if not (_has_our_form(claims) and _is_current(claims)):
        raise ApiError(Code.UNAUTHENTICATED)
    return claims


def _has_our_form(claims: dict[str, Any]) -> bool:
    """Tell whether the claims have the types and forms that ``issue`` writes.

    Other values would make the database fail.
    """
    names = ("sub", "jti", "generation", "iat", "exp")
    written = " ".join(repr(claims.get(name)) for name in names)
    return (
        claims.get("type", "access") == "access"
        and "nbf" not in claims
        and _FORM.fullmatch(written) is not None
        and int(claims["sub"]) <= INT32_MAX
        and claims["generation"] <= INT32_MAX
    )


def _is_current(claims: dict[str, Any]) -> bool:
    """Tell whether a token was issued, and has not expired, by our clock."""
    now, leeway = clock.now().timestamp(), clock.LEEWAY.total_seconds()
    return bool(claims["iat"] - leeway <= now < claims["exp"] + leeway)
