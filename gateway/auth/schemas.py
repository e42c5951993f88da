"""The shape of the requests about accounts (README, Requests)."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from marshmallow import Schema, ValidationError, validate

from gateway.fields import Stripped, Text

# Letters and marks that show nothing (Unicode's Default_Ignorable_Code_Point): with them one
# could be invisible, or look like somebody else.
INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0"
    "\U00016fe4\U000e0100-\U000e01ef]"
)


class UserName(Stripped):
    """Letters and digits of any script and ``_ - .``, after NFKC; 1 to 64 characters."""

    default_error_messages = {
        "name": "must be made of visible letters and digits, _ - and .",
    }

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(1, 64, **kwargs)

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
    """A plain ASCII address with a full domain name; at most 254 characters, kept as given.

    Stricter than marshmallow's validator: what passes here, SMTP and the mail library can carry.
    """

    default_error_messages = {"email": "must be an address like name@example.com"}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(1, 254, **kwargs)

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
    """An opaque text of 8 to 128 characters, usually a digest made by the client."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(8, 128, **kwargs)


class AuthCodeRequest(Schema):
    """POST /api/v1/auth-code."""

    user_name = UserName(required=True)
    email = EmailAddress(required=True)


class RegisterRequest(Schema):
    """POST /api/v1/register."""

    user_name = UserName(required=True)
    password = Password(required=True)
    email = EmailAddress(required=True)
    reg_code = Stripped(0, 64, required=True)


class LoginRequest(Schema):
    """POST /api/v1/login; ``user_name`` may also hold the e-mail address."""

    user_name = Stripped(1, 254, required=True)
    password = Password(required=True)


class LogoutRequest(Schema):
    """POST /api/v1/platform/logout; an empty object."""


class ChangePasswordRequest(Schema):
    """POST /api/v1/platform/change-password."""

    old_password = Password(required=True)
    new_password = Password(required=True)


class ResetCodeRequest(Schema):
    """POST /api/v1/reset-code."""

    email = EmailAddress(required=True)


class ResetPasswordRequest(Schema):
    """POST /api/v1/reset-password."""

    email = EmailAddress(required=True)
    reg_code = Stripped(0, 64, required=True)
    password = Password(required=True)
