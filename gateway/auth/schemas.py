"""The shape of requests and replies about accounts."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from marshmallow import ValidationError, validate
from marshmallow.fields import Integer, List, String

from gateway.web.fields import MAX_SENT, SPACE, Reply, Request, Stripped, Text, output_field

NOT_EMAIL = r"(?!.*=\?)(?![^@]{65})"
ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]"
LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
LAST_LABEL = r"[A-Za-z]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
DIGEST = "e10adc3949ba59abbe56e057f20f883e"  # the reference's example, of what clients send

ZERO = "\u3007"  # the Chinese digit zero; for Unicode it is a letter-like number, not a digit
MIDDLE_DOTS = "\u00b7\u30fb"  # of Catalan and of Japanese names

# Letters and marks that are invisible (Unicode's Default_Ignorable_Code_Point). With them a name
# could be invisible, or look like another name.
INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0"
    "\U00016fe4\U000e0100-\U000e01ef]"
)


class UserName(Stripped):
    """Letters and digits of any script and ``_ - .``, after NFKC; first a letter or a digit.

    A middle dot may stand between two letters, as in some Catalan and Japanese names.
    """

    default_error_messages = {
        "name": "must be made of visible letters and digits, _ - and .",
        "first": "must begin with a letter or a digit",
        "dot": "may hold a middle dot only between two letters",
    }

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(1, 64, **kwargs)

    @property
    def rule(self) -> dict[str, Any]:
        """A pattern for names in NFKC form."""
        dots = rf"(?!.*[{MIDDLE_DOTS}](?!\p{{L}}))(?!.*[^\p{{L}}\p{{M}}][{MIDDLE_DOTS}])"
        name = rf"[\p{{L}}\p{{Nd}}{ZERO}][\p{{L}}\p{{M}}\p{{Nd}}{ZERO}{MIDDLE_DOTS}_.-]{{0,63}}"
        return {"maxLength": MAX_SENT, "pattern": rf"^{dots}{SPACE}*{name}{SPACE}*$"}

    def clean(self, text: str) -> str:
        """Convert to NFKC, which unifies forms of the same character; strip."""
        return unicodedata.normalize("NFKC", text).strip()

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> str:
        name = super()._deserialize(value, attr, data, **kwargs)
        # Marks (M) are parts of letters in scripts like Devanagari or Thai. None begins a name.
        kinds = "".join(_kind(character) for character in name)
        if "?" in kinds or INVISIBLE.search(name):
            raise self.make_error("name")
        # A name like "--help" would be an option of an operator's command.
        if kinds[0] not in "LN":
            raise self.make_error("first")
        if re.search(r"[^LM]D|D(?!L)", kinds):
            raise self.make_error("dot")
        return name


def _kind(character: str) -> str:
    """Return L for a letter, M for a mark, N for a digit, D for a middle dot, P for ``_ - .``.

    For every other character return "?".
    """
    if character in "_-.":
        return "P"
    if character in MIDDLE_DOTS:
        return "D"
    category = unicodedata.category(character)
    if category == "Nd" or character == ZERO:
        return "N"
    return category[0] if category[0] in "LM" else "?"


class EmailAddress(Text):
    """A plain ASCII address with a full domain name, kept as given.

    The rule is stricter than marshmallow's, because the mail library and SMTP must accept the
    address later.
    """

    default_error_messages = {"email": "must be an address like name@example.com"}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(1, 254, **kwargs)

    @property
    def rule(self) -> dict[str, Any]:
        """A pattern that states the whole rule."""
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
        # "=?" begins an encoded word. Some relays would decode it into another address.
        if not address.isascii() or not re.fullmatch(
            r"(?!.*=\?)[^\"@]{1,64}@.+\.[A-Za-z]([A-Za-z0-9-]*[A-Za-z0-9])?", address
        ):
            raise self.make_error("email")
        return address


class Password(Text):
    """An opaque text, usually a digest made by the client. A weak one cannot be chosen."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(8, 128, **kwargs)


class AuthCodeRequest(Request):
    """POST /api/v1/auth-code."""

    user_name = UserName(required=True, metadata={"example": "lory"})
    email = EmailAddress(required=True, metadata={"example": "civet148@126.com"})


class Address(Request):
    """An e-mail address."""

    email = EmailAddress(required=True, metadata={"example": "civet148@126.com"})


class NewPassword(Request):
    """A password to set."""

    password = Password(required=True, metadata={"example": DIGEST})


class NewAccount(Request):
    """An account to create."""

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
    """The account that logged in, and its token."""

    version = output_field(String, "v0.1.0")
    user_name = output_field(String, "libin")
    auth_token = output_field(String, "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.e30.c2lnbmF0dXJl")
    login_ip = output_field(String, "172.27.192.1")
    login_time = output_field(Integer, 1709791711)
    role = output_field(String, "", validate=validate.OneOf(["", "admin"]))
    privilege = List(String(), required=True, metadata={"example": []})
