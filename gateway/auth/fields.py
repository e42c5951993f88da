"""What a user name, an e-mail address, a code and a password may be."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field

from flask import current_app

from gateway.auth import common_passwords
from gateway.auth.common_passwords import md5
from gateway.web.fields import Stripped, Text, without_invisible_ends

# "=?" begins an encoded word, which some relays would decode into another address.
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_LAST_LABEL = r"[A-Za-z][A-Za-z0-9-]{0,61}[A-Za-z0-9]"
EMAIL = re.compile(
    rf"(?!.*=\?)(?=[^@]{{1,64}}@){_ATOM}(?:\.{_ATOM})*@(?:{_LABEL}\.)+{_LAST_LABEL}", re.ASCII
)
DIGEST = re.compile("[0-9A-Fa-f]{32}")  # of a password
# For Unicode, the Chinese digit zero is a letter-like number. Catalan and Japanese use dots.
KINDS = {**dict.fromkeys("_-.", "P"), "\u3007": "N", **dict.fromkeys("\u00b7\u30fb", "D")}

# Letters and marks that are invisible (Unicode's Default_Ignorable_Code_Point). With them a name
# could be invisible, or look like another name.
INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0"
    "\U00016fe4\U000e0100-\U000e01ef]"
)


class UserName(Stripped):
    """Visible letters and digits of any script and `_ - .`; the first is a letter or a digit.

    A middle dot may stand between two letters, as in some Catalan and Japanese names. The service
    converts the name to NFKC and drops the white space around it; the lengths are those of what
    remains.
    """

    lengths = (1, 64)
    default_error_messages = {
        "name": "must be made of visible letters and digits, _ - and .",
        "first": "must begin with a letter or a digit",
        "dot": "may hold a middle dot only between two letters",
    }

    def clean(self, text: str) -> str:
        """Convert to NFKC, which unifies forms of the same character; strip."""
        return unicodedata.normalize("NFKC", text).strip()

    def check(self, text: str) -> str:
        # Marks (M) are parts of letters in scripts like Devanagari or Thai. None begins a name.
        kinds = "".join(_kind(character) for character in text)
        if "?" in kinds or INVISIBLE.search(text):
            raise self.make_error("name")
        # A name like "--help" would be an option of an operator's command.
        if kinds[0] not in "LN":
            raise self.make_error("first")
        if re.search(r"[^LM]D|D(?!L)", kinds):
            raise self.make_error("dot")
        return text


def _kind(character: str) -> str:
    """Return L for a letter, M for a mark, N for a digit, D for a middle dot, P for ``_ - .``.

    For every other character return "?".
    """
    if character in KINDS:
        return KINDS[character]
    category = unicodedata.category(character)
    return category[0] if category == "Nd" or category[0] in "LM" else "?"


class EmailAddress(Text):
    """A plain ASCII address like `name@example.com`, kept as given but for invisible ends.

    Before the `@` at most 64 letters, digits and ``!#$%&'*+/=?^_`{|}~-``, with single dots between
    them but without `=?`. After it a domain name of two labels or more, each of 1 to 63 letters,
    digits and inner hyphens; the last has at least two and begins with a letter.

    The rule is stricter than marshmallow's, because the mail library and SMTP must accept the
    address later.
    """

    format_name = "email"
    lengths = (1, 254)
    default_error_messages = {"email": "must be an address like name@example.com"}

    def clean(self, text: str) -> str:
        """Remove what nobody sees around the address."""
        return without_invisible_ends(text)

    def check(self, text: str) -> str:
        if not EMAIL.fullmatch(text):
            raise self.make_error("email")
        return text


class RegCode(Text):
    """The digits of a mailed code, as keyboards of any script write them."""

    lengths = (0, 64)

    def clean(self, text: str) -> str:
        """Return the decimal digits as 0 to 9, and drop all else."""
        if len(text) > self.max_length:
            return text  # it is refused, and NFKC would take long
        numbers = (unicodedata.decimal(c, None) for c in unicodedata.normalize("NFKC", text))
        return "".join(str(number) for number in numbers if number is not None)


class LoginName(Stripped):
    """A user name or an e-mail address."""

    lengths = (1, 254)

    def clean(self, text: str) -> str:
        """Remove white space around a name, and what nobody sees around an address."""
        return without_invisible_ends(text) if "@" in text else text.strip()


@dataclass(frozen=True)
class Password:
    """A password as it entered.

    :param typed: what a person typed; "" when the client sent its MD5 digest.
    :param proof: what is hashed: the digest in lower case, or with PASSWORD_MD5=0 what was typed.
    """

    typed: str = field(repr=False)
    proof: str = field(repr=False)


class ProvedPassword(Text):
    """What a person types, or its MD5 digest, where the service takes digests.

    Both are the same password, so 32 hexadecimal digits that a person types are a digest, too.
    """

    format_name = "password"
    lengths = (1, 128)

    def check(self, text: str) -> Password:
        if not current_app.config["PASSWORD_MD5"]:
            return Password(text, text)
        return Password("", text.lower()) if DIGEST.fullmatch(text) else Password(text, md5(text))


class ChosenPassword(ProvedPassword):
    """8 characters or more; or the MD5 digest of them, 32 hexadecimal digits, where that is taken.

    Both are the same password. It must not be one of the commonest, or the account's own name or
    address.
    """

    lengths = (8, 128)
    default_error_messages = {"common": "must not be one of the commonest passwords"}

    def check(self, text: str) -> Password:
        password = super().check(text)
        if common_passwords.holds(password.typed, password.proof):
            raise self.make_error("common")
        return password
