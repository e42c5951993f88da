"""Endpoints of accounts."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

from flask import Blueprint, Response, current_app, request

from gateway import clock, log, mail
from gateway.auth import admin, delete, devices, passwords, schemas, tokens
from gateway.auth.email import change as change_address
from gateway.auth.email import send_code as send_address_code
from gateway.auth.fields import Password
from gateway.auth.login import log_in, log_out
from gateway.auth.register import create_account
from gateway.auth.register import send_code as send_registration_code
from gateway.errors import ApiError, Code
from gateway.mail.languages import look_up
from gateway.version import __version__
from gateway.web.body import body
from gateway.web.fields import Empty
from gateway.web.reply import reply, responses

bp = Blueprint("auth", __name__, url_prefix="/api/v1")
_PASSWORD = (Code.WRONG_CREDENTIALS, Code.TOO_MANY_REQUESTS)
_NO_ACCOUNT = (Code.ACCESS_DENIED, Code.EMAIL_EXISTS, Code.USER_NAME_EXISTS)


@bp.post("/auth-code")
@body(schemas.AuthCodeRequest)
@responses(Empty, *_NO_ACCOUNT, Code.TOO_MANY_REQUESTS, Code.MAIL_NOT_SENT)
def auth_code(**fields: Any) -> Response:
    """Mail a registration code.

    The code is valid for 10 minutes and one account. A new code replaces the one that this client
    asked for before. The mail is in English or Chinese, as ``Accept-Language`` says.
    """
    send_registration_code(**fields, client=devices.client(), language=_language())
    return reply()


@bp.post("/register")
@body(schemas.RegisterRequest)
@responses(Empty, *_NO_ACCOUNT, Code.TOO_MANY_REQUESTS, Code.WRONG_CODE)
def register(**fields: Any) -> Response:
    """Create an account with a mailed code, or with that of an invitation.

    After five wrong codes from who asked for it the code is dead. Any other refusal leaves it
    valid.
    """
    user = create_account(**fields, client=devices.client(), language=_language())
    log.note(user=user.id)
    return reply()


@bp.post("/login")
@body(schemas.LoginRequest)
@responses(schemas.Login, *_PASSWORD, Code.BANNED)
def login(**fields: Any) -> Response:
    """Return a token for a user name and a password.

    The token is valid for 12 hours; ``claim_id`` in it is the user_id. The cookie lets this client
    in although strangers guess; a program may keep it.
    """
    client = devices.client()
    language = _language() if request.accept_languages else None
    user = log_in(**fields, client=client, language=language)
    now = clock.now()
    response = reply(
        {
            "version": f"v{__version__}",
            "user_name": user.user_name,
            "auth_token": tokens.issue(user, now),
            "login_ip": client.ip,
            "login_time": int(now.timestamp()),
            "role": user.role,
            "privilege": user.privilege,
        }
    )
    return devices.remember(response, client, user.id)


@bp.post("/platform/logout")
@tokens.signed_in
@body(schemas.LogoutRequest)
@responses(Empty)
def logout() -> Response:
    """Revoke the token of the request."""
    log_out(tokens.caller())
    return reply()


@bp.post("/platform/change-password")
@tokens.signed_in
@body(schemas.ChangePasswordRequest)
@responses(Empty, *_PASSWORD)
def change_password(**fields: Any) -> Response:
    """Set a new password.

    Every token of the account but this one is refused from now on.
    """
    passwords.change(tokens.caller(), **fields, client=devices.client())
    return reply()


@bp.post("/platform/email-code")
@tokens.signed_in
@body(schemas.EmailCodeRequest)
@responses(Empty, Code.EMAIL_EXISTS, Code.TOO_MANY_REQUESTS, Code.MAIL_NOT_SENT)
def email_code(email: str) -> Response:
    """Mail a code to the address that the account is to have.

    It is valid for 10 minutes, once, and only for this account. A new code replaces the one that
    this client asked for before.
    """
    send_address_code(tokens.caller(), email, devices.client(), _language())
    return reply()


@bp.post("/platform/change-email")
@tokens.signed_in
@body(schemas.ChangeEmailRequest)
@responses(Empty, *_PASSWORD, Code.WRONG_CODE, Code.EMAIL_EXISTS)
def change_email(**fields: Any) -> Response:
    """Give the account another address, with the code that was mailed to it.

    The old address gets a mail that says so, and works no more: not to log in, and not for a new
    password. Tokens stay valid. After five wrong codes the code is dead.
    """
    change_address(tokens.caller(), **fields, client=devices.client())
    return reply()


@bp.post("/platform/delete-account")
@tokens.signed_in
@body(schemas.DeleteAccountRequest)
@responses(Empty, *_PASSWORD, Code.ACCESS_DENIED)
def delete_account(password: Password) -> Response:
    """Erase the account with its projects and all that was counted, for good.

    Its tokens and its keys are refused from now on. The last admin cannot leave.
    """
    caller = tokens.caller()
    delete.delete_account(caller, password, devices.client())
    return devices.forget(reply(), caller.id)


@bp.post("/reset-code")
@body(schemas.ResetCodeRequest)
@responses(Empty, Code.TOO_MANY_REQUESTS, Code.MAIL_NOT_SENT)
def reset_code(email: str) -> Response:
    """Mail a code for a new password to an address that has an account.

    An address without one gets the same answer, and no mail.
    """
    passwords.send_reset_code(email, devices.client(), _language())
    return reply()


@bp.post("/reset-password")
@body(schemas.ResetPasswordRequest)
@responses(Empty, Code.WRONG_CODE, Code.TOO_MANY_REQUESTS)
def reset_password(**fields: Any) -> Response:
    """Set a new password with a mailed code.

    Every token of the account is refused from now on.
    """
    client = devices.client()
    user_id = passwords.reset(**fields, client=client)
    log.note(user=user_id)
    return devices.remember(reply(), client, user_id)


@bp.post("/admin/user-list")
@tokens.signed_in
@body(schemas.UserListRequest)
@responses(schemas.UserPage, Code.ACCESS_DENIED)
def list_users(query: str, page_no: int, page_size: int) -> Response:
    """Return a page of accounts, ordered by id; only for admins.

    ``header.total`` counts all that match, ``header.count`` those on this page.
    """
    _admin()
    users, total = admin.search(query, page_no=page_no, size=page_size)
    zone = ZoneInfo(current_app.config["TIMEZONE"])
    items = [
        {
            **admin.summary(user),
            "created_time": user.created_at.astimezone(zone).isoformat(" ", "seconds")[:19],
        }
        for user in users
    ]
    return reply({"list": items}, total=total, count=len(items))


@bp.post("/admin/user-edit")
@tokens.signed_in
@body(schemas.UserEditRequest)
@responses(Empty, Code.ACCESS_DENIED, Code.NOT_FOUND)
def edit_user(id: int, **changes: Any) -> Response:
    """Ban an account, lift its ban, or limit its projects; only for admins.

    A ban revokes every token of the account and stops its keys. A field that is not sent stays.
    """
    log.note(account=id)
    admin.edit(_admin(), id, **changes)
    return reply()


def _admin() -> tokens.Caller:
    """Return the caller, who must be an admin."""
    caller = tokens.caller()
    if not caller.is_admin:
        raise ApiError(Code.ACCESS_DENIED, "Only admins may do this")
    return caller


def _language() -> str:
    """Return the language of ``mail.LANGUAGES`` that the client prefers."""
    return look_up(request.accept_languages, mail.LANGUAGES)
