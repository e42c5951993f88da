"""Which passwords are too easy to guess to be chosen, as they are typed and as MD5 digests."""

from __future__ import annotations

import gzip
import hashlib
from functools import cache
from pathlib import Path

# The file names its sources and their licences above the line "The passwords:".
_FILE = Path(__file__).with_name("common-passwords.txt.gz")


def md5(text: str) -> str:
    """Return the MD5 digest of a text's UTF-8 as 32 hexadecimal digits, as clients send it."""
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def spellings(text: str) -> set[str]:
    """Return the ways of writing a text that are refused as digests, too."""
    return {text, text.lower(), text.capitalize(), text.upper()}


def holds(typed: str, digest: str) -> bool:
    """Tell whether a password is one of the commonest, however its letters are written.

    :param typed: "" when only the digest is known.
    """
    if typed:
        return f"\n{typed.casefold()}\n" in _passwords()
    return bytes.fromhex(digest) in _digests()


@cache
def _passwords() -> str:
    """Return the passwords between line breaks; a set of them would take ten times the memory."""
    return gzip.decompress(_FILE.read_bytes()).decode().partition("The passwords:")[2]


@cache
def _digests() -> bytes:
    """Return the digests in one text, because a set of them would take ten times the memory."""
    written = (spelling for text in _passwords().split() for spelling in spellings(text))
    return b"".join(bytes.fromhex(md5(spelling)) for spelling in written)
