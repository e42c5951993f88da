"""Which passwords are too easy to guess to be chosen.

Clients of this API usually send a digest of what the person typed. A digest tells nothing, so it
is never refused.
"""

from __future__ import annotations

import gzip
from functools import cache
from pathlib import Path

from gateway.auth.models import email_key, name_key
from gateway.errors import ApiError, Code

# The file names its sources and their licences above the line "The passwords:".
_FILE = Path(__file__).with_name("common-passwords.txt.gz")


def refuse_weak(password: str, field: str = "password", *, name: str = "", email: str = "") -> None:
    """Refuse a password that is among the commonest, or is the account's own name or address.

    :param field: the field of the request that the refusal names.
    :raises ApiError: 1003.
    """
    if f"\n{password.casefold()}\n" in _common():
        raise ApiError(
            Code.INVALID_PARAMETER, f"{field} is one of the commonest; choose another one"
        )
    own = {name_key(name), email_key(email)} - {""}
    if {name_key(password), email_key(password)} & own:
        raise ApiError(
            Code.INVALID_PARAMETER, f"{field} must not be the account's own name or address"
        )


@cache
def _common() -> str:
    """Return the passwords between line breaks; a set of them would take ten times the memory."""
    return gzip.decompress(_FILE.read_bytes()).decode().partition("The passwords:")[2]
