"""Keys, hashes and secrets: everything derived from SECRET_KEY, and everything random."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import string
from base64 import b64decode
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import Any

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from cryptography.exceptions import InvalidTag
from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from flask import current_app
from werkzeug.exceptions import ServiceUnavailable

_VERSION_2 = "2:"  # how a secret begins that AES-GCM has sealed; Fernet's begin with "gAAAA"
_NONCE = 12  # bytes, before what AES-GCM has sealed
ALPHANUMERIC = string.ascii_letters + string.digits

#: Hashes and verifies passwords, with OWASP's argon2id parameters: 19 MiB, two passes, one lane.
#: Replace it to change the parameters; a login renews a hash that was made with others.
hasher = PasswordHasher(time_cost=2, memory_cost=19456, parallelism=1)

# A thread waits in this context; a server whose threads take turns replaces it.
aside: Callable[[], AbstractContextManager[None]] = nullcontext


_hashing = ThreadPoolExecutor(1, "argon2")  # one at a time, because each hash takes 19 MiB


@lru_cache(maxsize=64)
def derive_key(secret_key: str, label: str) -> bytes:
    """Derive 32 bytes for one purpose, so that no two purposes share a key."""
    info = f"gateway/{label}".encode()
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(secret_key.encode())


def random_text(length: int, alphabet: str = ALPHANUMERIC) -> str:
    """Return ``length`` characters of ``alphabet`` from the system's CSPRNG."""
    # Bytes beyond the last whole multiple of the alphabet would favour its first characters.
    fair = 256 - 256 % len(alphabet)
    text = ""
    while len(text) < length:
        drawn = secrets.token_bytes(length)
        text += "".join(alphabet[byte % len(alphabet)] for byte in drawn if byte < fair)
    return text[:length]


def hash_password(password: str) -> str:
    """Return the argon2id hash of a password, parameters and salt included."""
    return str(_alone(hasher.hash, password))


def password_matches(password: str, password_hash: str | None) -> bool:
    """Verify a password; without a hash, spend the same time and say no."""
    stored = password_hash or _dummy_hash(hasher)
    try:
        _alone(hasher.verify, stored, password)
    except (VerificationError, InvalidHashError):
        return False
    return password_hash is not None


def _alone(function: Callable[..., Any], *args: str) -> Any:
    """Call a function in the one thread that hashes.

    :raises ServiceUnavailable: when the thread cannot be started.
    """
    global _hashing  # noqa: PLW0603 - the old one keeps the job, which nobody waits for
    try:
        job = _hashing.submit(function, *args)
    except RuntimeError:
        _hashing = ThreadPoolExecutor(1, "argon2")
        raise ServiceUnavailable(retry_after=5) from None
    with aside():
        return job.result()


def password_needs_rehash(password_hash: str) -> bool:
    """Tell whether the hash was made with other parameters than today's."""
    return hasher.check_needs_rehash(password_hash)


@lru_cache(maxsize=8)
def _dummy_hash(hasher: PasswordHasher) -> str:
    """Return the hash that is verified for unknown users, made with the hasher's parameters."""
    return hasher.hash(secrets.token_hex())


_dummy_hash(hasher)  # made now, because it would slow down the first login of an unknown user


def keyed_hash(label: str, *parts: str) -> str:
    """Return an HMAC in 64 hexadecimal digits, with a key of its own for each label.

    An unkeyed hash of few digits, or of an address, would be as good as the text itself.
    """
    return _mac(current_app.config["SECRET_KEY"], label, *parts)


def is_signed(label: str, text: str, mac: str) -> bool:
    """Tell whether SECRET_KEY or a fallback has made the ``keyed_hash`` of a text."""
    return any(hmac.compare_digest(_mac(key, label, text), mac) for key in _secret_keys())


def _mac(secret_key: str, label: str, *parts: str) -> str:
    key = derive_key(secret_key, label)
    return hmac.new(key, "\0".join(parts).encode(), hashlib.sha256).hexdigest()


def secret_hash(secret: str) -> str:
    """Return the hash that verifies a project secret; 48 random characters need no salt."""
    return hashlib.sha256(secret.encode()).hexdigest()


@lru_cache(maxsize=64)
def _aes_gcm(secret_key: str) -> AESGCM:
    return AESGCM(derive_key(secret_key, "project-secret-2"))


def seal(text: str) -> str:
    """Encrypt and authenticate a text under SECRET_KEY."""
    nonce = secrets.token_bytes(_NONCE)
    sealed = _aes_gcm(current_app.config["SECRET_KEY"]).encrypt(nonce, text.encode(), None)
    return _VERSION_2 + base64.b64encode(nonce + sealed).decode()


def unseal(many: Iterable[str]) -> list[str | None]:
    """Return each text, or None for one that neither SECRET_KEY nor a fallback opens."""
    keys = _secret_keys()
    return [_open(keys, sealed) for sealed in many]


def _open(secret_keys: Iterable[str], sealed: str) -> str | None:
    for key in secret_keys:
        try:
            if not sealed.startswith(_VERSION_2):  # of a row from before version 2
                fernet_key = base64.urlsafe_b64encode(derive_key(key, "project-secret"))
                return Fernet(fernet_key).decrypt(sealed.encode()).decode()
            content = b64decode(sealed[len(_VERSION_2) :])
            return _aes_gcm(key).decrypt(content[:_NONCE], content[_NONCE:], None).decode()
        except (InvalidTag, InvalidToken, ValueError):
            continue
    return None


def _secret_keys() -> tuple[str, ...]:
    return current_app.config["SECRET_KEY"], *current_app.config["SECRET_KEY_FALLBACKS"]
