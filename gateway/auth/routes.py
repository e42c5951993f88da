"""HTTP for accounts."""

from __future__ import annotations

from flask import Blueprint, Response, request
from flask_jwt_extended import get_jwt

from gateway import clock, log, mail
from gateway.auth import schemas, service, tokens
from gateway.envelope import gives, reply, takes
from gateway.errors import Code
from gateway.fields import Nothing
from gateway.version import __version__

bp = Blueprint("auth", __name__, url_prefix="/api/v1")


@bp.post("/auth-code")
@takes(schemas.AuthCodeRequest)
@gives(
    Nothing,
    Code.EMAIL_EXISTS,
    Code.USER_NAME_EXISTS,
    Code.TOO_MANY_REQUESTS,
    Code.MAIL_NOT_SENT,
)
def auth_code(**fields: str) -> Response:
    """Mail a registration code.

    It makes one account within 10 minutes. A new code replaces the one before it. The mail is in
    English or Chinese, as ``Accept-Language`` says.
    """
    service.send_registration_code(**fields, ip=log.client_ip(), language=_language())
    return reply()


@bp.post("/register")
@takes(schemas.RegisterRequest)
@gives(Nothing, Code.EMAIL_EXISTS, Code.USER_NAME_EXISTS, Code.WRONG_CODE)
def register(**fields: str) -> Response:
    """Make an account with a mailed code.

    Five wrong codes spend the code; any other refusal leaves it good.
    """
    user = service.register(**fields)
    log.note(user=user.id)
    return reply()


@bp.post("/login")
@takes(schemas.LoginRequest)
@gives(schemas.Login, Code.WRONG_CREDENTIALS, Code.BANNED, Code.TOO_MANY_REQUESTS)
def login(**fields: str) -> Response:
    """Trade user name and password for a token.

    The token is good for 12 hours; ``claim_id`` in it is the user_id.
    """
    ip = log.client_ip()
    user = service.login(**fields, ip=ip)
    now = clock.now()
    return reply(
        {
            "version": f"v{__version__}",
            "user_name": user.user_name,
            "auth_token": tokens.issue(user, now),
            "login_ip": ip,
            "login_time": int(now.timestamp()),
            "role": user.role,
            "privilege": user.privilege,
        }
    )


@bp.post("/platform/logout")
@tokens.signed_in
@takes(schemas.LogoutRequest)
@gives(Nothing)
def logout() -> Response:
    """Revoke the token that came with the request."""
    service.logout(get_jwt()["jti"], get_jwt()["exp"])
    return reply()


@bp.post("/platform/change-password")
@tokens.signed_in
@takes(schemas.ChangePasswordRequest)
@gives(Nothing, Code.WRONG_CREDENTIALS, Code.TOO_MANY_REQUESTS)
def change_password(**fields: str) -> Response:
    """Set another password.

    Every token of the account but this one is refused from now on.
    """
    service.change_password(tokens.caller(), get_jwt()["jti"], **fields, ip=log.client_ip())
    return reply()


@bp.post("/reset-code")
@takes(schemas.ResetCodeRequest)
@gives(Nothing, Code.TOO_MANY_REQUESTS, Code.MAIL_NOT_SENT)
def reset_code(email: str) -> Response:
    """Mail a code for a new password, if the address has an account.

    The answer is the same if it has none.
    """
    service.send_reset_code(email, log.client_ip(), _language())
    return reply()


@bp.post("/reset-password")
@takes(schemas.ResetPasswordRequest)
@gives(Nothing, Code.WRONG_CODE)
def reset_password(**fields: str) -> Response:
    """Set a new password with a mailed code.

    Every token of the account is refused from now on.
    """
    log.note(user=service.reset_password(**fields, ip=log.client_ip()))
    return reply()


def _language() -> str:
    """Return the language of ``mail.LANGUAGES`` that the client would rather read."""
    return request.accept_languages.best_match(mail.LANGUAGES, default="en")
