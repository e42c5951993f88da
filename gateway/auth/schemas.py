"""The shape of requests and replies about accounts."""

from __future__ import annotations

from marshmallow import validate
from marshmallow.fields import Boolean, Integer, List, String

from gateway.auth.fields import (
    ChosenPassword,
    EmailAddress,
    LoginName,
    ProvedPassword,
    RegCode,
    UserName,
)
from gateway.web.fields import (
    Flag,
    Int32,
    PageRequest,
    Reply,
    Request,
    Stripped,
    entries,
    output_field,
    says,
)

DIGEST = "e10adc3949ba59abbe56e057f20f883e"  # the reference's example, of what clients send


class Named(Request):
    """A user name."""

    user_name = UserName(required=True, metadata={"example": "lory"})


class Address(Request):
    """An e-mail address."""

    email = EmailAddress(required=True, metadata={"example": "lory@example.com"})


class NewPassword(Request):
    """A password to set."""

    password = ChosenPassword(required=True, metadata={"example": DIGEST})


class Mailed(Request):
    """A mailed code."""

    reg_code = RegCode(required=True, **says("632804", "The mailed code."))


class AuthCodeRequest(Address, Named):
    """POST /api/v1/auth-code."""


class NewAccount(Address, NewPassword, Named):
    """An account to create."""


class RegisterRequest(Mailed, NewAccount):
    """POST /api/v1/register; ``reg_code`` may also be that of an invitation."""


class LoginRequest(Request):
    """POST /api/v1/login; ``user_name`` may also hold the e-mail address."""

    user_name = LoginName(required=True, **says("lory", "The user name, or the e-mail address."))
    password = ProvedPassword(required=True, metadata={"example": DIGEST})


class LogoutRequest(Request):
    """POST /api/v1/platform/logout; an empty object."""


class ChangePasswordRequest(Request):
    """POST /api/v1/platform/change-password."""

    old_password = ProvedPassword(required=True, metadata={"example": DIGEST})
    new_password = ChosenPassword(required=True, metadata={"example": DIGEST})


class EmailCodeRequest(Address):
    """POST /api/v1/platform/email-code."""


class DeleteAccountRequest(Request):
    """POST /api/v1/platform/delete-account."""

    # Nobody's password, so whoever sends the example erases nothing.
    password = ProvedPassword(required=True, metadata={"example": "the password of the account"})


class ChangeEmailRequest(Mailed, Address, DeleteAccountRequest):
    """POST /api/v1/platform/change-email; ``email`` is the new address."""


class ResetCodeRequest(Address):
    """POST /api/v1/reset-code."""


class ResetPasswordRequest(NewPassword, Mailed, Address):
    """POST /api/v1/reset-password."""


class Login(Reply):
    """The account that logged in, and its token."""

    version = output_field(String, "v0.1.0", "The version of this service")
    user_name = output_field(String, "libin", "The name of the account")
    auth_token = output_field(
        String,
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.e30.c2lnbmF0dXJl",
        "A JWT, valid for 12 hours; its claim_id is the user_id",
    )
    login_ip = output_field(String, "172.27.192.1", "The address that this login came from")
    login_time = output_field(
        Integer, 1709791711, "The time of this login, in unix seconds", format="int64"
    )
    role = output_field(
        String, "", 'The role of the account, "" for most', validate=validate.OneOf(["", "admin"])
    )
    privilege = List(String(), required=True, **says([], "What the role allows; empty for most"))


class UserListRequest(PageRequest):
    """POST /api/v1/admin/user-list."""

    _words = says("", "An id, or a part of a user name or of an address; empty finds all.")
    query = Stripped(0, 254, load_default="", **_words)


class UserEditRequest(Request):
    """POST /api/v1/admin/user-edit; a field that is not sent stays."""

    # No account has the id 0, so whoever sends the example changes nothing.
    id = Int32(required=True, **says(0, "The id of an account"))
    banned = Flag(attribute="is_banned", **says(False, "Whether it may do nothing"))
    projects_max = Int32(
        allow_none=True, **says(5, "How many projects it may have; null is the service's default")
    )


class ListedUser(Reply):
    """An account, as admins see it."""

    id = output_field(Integer, 2, "What user-edit and project/list want")
    user_name = output_field(String, "lory", "Its name")
    email = output_field(String, "lory@example.com", "Its address")
    role = output_field(String, "", 'Its role, "" for most')
    banned = output_field(Boolean, False, "Whether it is banned")
    projects = output_field(Integer, 1, "How many projects it has")
    created_time = output_field(String, "2024-03-07 15:47:02", "In the time zone of the service")


class UserPage(Reply):
    """One page of accounts."""

    list = entries(ListedUser, "The accounts, ordered by id")
