"""The shape of the requests about accounts (README, Requests)."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from marshmallow import ValidationError, validate
from marshmallow.fields import Integer, List, String

from gateway.fields import SPACE, Reply, Request, Stripped, Text, shown

NOT_EMAIL = r"(?!.*=\?)(?![^@]{65})"
ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]"
LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
LAST_LABEL = r"[A-Za-z]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
DIGEST = "e10adc3949ba59abbe56e057f20f883e"  # the reference's example, of what clients send

# Letters and marks that show nothing (Unicode's Default_Ignorable_Code_Point): with them one
# could be invisible, or look like somebody else.
INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0"
    "\U00016fe4\U000e0100-\U000e01ef]"
)


class UserName(Stripped):
    """Letters and digits of any script and ``_ - .``, after NFKC."""

    default_error_messages = {
        "name": "must be made of visible letters and digits, _ - and .",
    }

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(1, 64, **kwargs)

    @property
    def rule(self) -> dict[str, Any]:
        """The pattern is about NFKC forms."""
        name = r"[\p{L}\p{Nd}_.-][\p{L}\p{M}\p{Nd}_.-]{0,63}"
        return {"pattern": rf"^{SPACE}*{name}{SPACE}*$"}

    def clean(self, text: str) -> str:
        """Bring look-alike forms of the same characters to one."""
        return unicodedata.normalize("NFKC", text).strip()

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> str:
        name = super()._deserialize(value, attr, data, **kwargs)
        # Marks (M) are part of letters in scripts like Devanagari or Thai, but begin no name.
        kinds = ["Nd" if c in "_-." else unicodedata.category(c) for c in name]
        allowed = all(kind[0] in "LM" or kind == "Nd" for kind in kinds)
        if not allowed or kinds[0][0] == "M" or INVISIBLE.search(name):
            raise self.make_error("name")
        return name


class EmailAddress(Text):
    """A plain ASCII address with a full domain name, kept as given.

    Stricter than marshmallow's validator: what passes here, SMTP and the mail library can carry.
    """

    default_error_messages = {"email": "must be an address like name@example.com"}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(1, 254, **kwargs)

    @property
    def rule(self) -> dict[str, Any]:
        """A pattern that is the rule to the letter."""
        address = rf"{ATOM}+(\.{ATOM}+)*@({LABEL}\.)+{LAST_LABEL}"
        return {**super().rule, "format": "email", "pattern": rf"^{NOT_EMAIL}{address}$"}

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> str:
        address = super()._deserialize(value, attr, data, **kwargs)
        try:
            validate.Email()(address)
        except ValidationError:
            raise self.make_error("email") from None
        # "=?" begins an encoded word, which some relays would turn into another address.
        if not address.isascii() or not re.fullmatch(
            r"(?!.*=\?)[^\"@]{1,64}@.+\.[A-Za-z]([A-Za-z0-9-]*[A-Za-z0-9])?", address
        ):
            raise self.make_error("email")
        return address


class Password(Text):
    """An opaque text, usually a digest made by the client."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(8, 128, **kwargs)


class AuthCodeRequest(Request):
    """POST /api/v1/auth-code."""

    user_name = UserName(required=True, metadata={"example": "lory"})
    email = EmailAddress(required=True, metadata={"example": "civet148@126.com"})


class Address(Request):
    """An address."""

    email = EmailAddress(required=True, metadata={"example": "civet148@126.com"})


class NewPassword(Request):
    """A password to be."""

    password = Password(required=True, metadata={"example": DIGEST})


class NewAccount(Request):
    """An account to be."""

    user_name = UserName(required=True, metadata={"example": "lory"})
    password = Password(required=True, metadata={"example": DIGEST})
    email = EmailAddress(required=True, metadata={"example": "civet148@126.com"})


class RegisterRequest(NewAccount):
    """POST /api/v1/register."""

    reg_code = Stripped(0, 64, required=True, metadata={"example": "6328"})


class LoginRequest(Request):
    """POST /api/v1/login; ``user_name`` may also hold the e-mail address."""

    user_name = Stripped(1, 254, required=True, metadata={"example": "lory"})
    password = Password(required=True, metadata={"example": DIGEST})


class LogoutRequest(Request):
    """POST /api/v1/platform/logout; an empty object."""


class ChangePasswordRequest(Request):
    """POST /api/v1/platform/change-password."""

    old_password = Password(required=True, metadata={"example": DIGEST})
    new_password = Password(required=True, metadata={"example": DIGEST})


class ResetCodeRequest(Address):
    """POST /api/v1/reset-code."""


class ResetPasswordRequest(Request):
    """POST /api/v1/reset-password."""

    email = EmailAddress(required=True, metadata={"example": "civet148@126.com"})
    reg_code = Stripped(0, 64, required=True, metadata={"example": "63280417"})
    password = Password(required=True, metadata={"example": DIGEST})


class Login(Reply):
    """Who is logged in, and their token."""

    version = shown(String, "v0.1.0")
    user_name = shown(String, "libin")
    auth_token = shown(String, "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.e30.c2lnbmF0dXJl")
    login_ip = shown(String, "172.27.192.1")
    login_time = shown(Integer, 1709791711)
    role = shown(String, "", validate=validate.OneOf(["", "admin"]))
    privilege = List(String(), required=True, metadata={"example": []})
