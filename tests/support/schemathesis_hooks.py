"""Hooks for schemathesis, which loads them in its own process.

Every request has its own client address and every logout its own token, because limits and revoked
tokens would refuse the requests that follow.
"""

import ipaddress
import itertools
import os
import string
import unicodedata

import requests
import schemathesis
from hypothesis import strategies as st

from gateway.auth import common_passwords
from gateway.auth.fields import INVISIBLE

SERVER = os.environ["SERVER"]
PASSWORDS = ("password", "new_password")
addresses = map(str, map(ipaddress.ip_address, itertools.count(0x0A000001)))


# Addresses that the rule in the description allows; the format itself allows more.
WORDS = st.text(string.ascii_letters, min_size=2, max_size=20)
schemathesis.openapi.format("email", st.builds("{}@{}.{}".format, WORDS, WORDS, WORDS))


@schemathesis.hook
def map_body(_context, body):
    """Keep to the rules that stand in words only; the length and the type of a value stay.

    So a body that breaks another rule goes on breaking it.
    """
    if not isinstance(body, dict):
        return body
    return {name: _by_the_words(name, value, body) for name, value in body.items()}


def _by_the_words(name, value, body):
    if isinstance(value, float) and value.is_integer():
        return int(value)  # for JSON Schema 2.0 is an integer
    if not isinstance(value, str):
        return value
    if name == "user_name" and "email" in body and not (value.isascii() and value.isalnum()):
        return "".join(map(_letter, value))  # a new name
    return "".join("x" if unusable(c) else c for c in value)


def _letter(character):
    """Return the character if it is a letter that NFKC leaves alone, or "x"."""
    is_letter = unicodedata.category(character)[0] == "L" and not INVISIBLE.search(character)
    return character if is_letter and unicodedata.is_normalized("NFKC", character) else "x"


def unusable(character):
    """Tell whether a text must not hold the character, or may lose it at its ends."""
    return unicodedata.category(character) in ("Cc", "Cs") or character.isspace()


def is_weak(password):
    """Tell whether the service refuses a password of the right length; no schema can say that."""
    if not isinstance(password, str) or not 8 <= len(password) <= 128:
        return False
    return common_passwords.holds(password, "")


@schemathesis.hook
def before_call(_context, case, _kwargs):
    case.headers["X-Forwarded-For"] = next(addresses)
    if isinstance(case.body, dict):
        # Not every body goes through map_body.
        case.body.update({n: "not so common" for n in PASSWORDS if is_weak(case.body.get(n))})
    of_everybody = f"Bearer {os.environ['TOKEN']}"
    if case.path.endswith("/logout") and case.headers.get("Authorization") == of_everybody:
        case.headers["Authorization"] = f"Bearer {log_in()}"


def log_in():
    body = {"user_name": "libin", "password": os.environ["PASSWORD"]}
    headers = {"X-Forwarded-For": next(addresses)}
    reply = requests.post(f"{SERVER}/api/v1/login", json=body, headers=headers, timeout=30)
    return reply.json()["data"]["auth_token"]
