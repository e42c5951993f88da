"""Hooks for schemathesis, which loads them in its own process.

Every request has its own client address and every logout its own token, because limits and revoked
tokens would refuse the requests that follow.
"""

import ipaddress
import itertools
import os
import unicodedata

import requests
import schemathesis

from gateway.auth import strength
from gateway.auth.schemas import INVISIBLE
from gateway.errors import ApiError

SERVER = os.environ["SERVER"]
PASSWORDS = ("password", "new_password")
addresses = map(str, map(ipaddress.ip_address, itertools.count(0x0A000001)))


@schemathesis.hook
def map_body(_context, body):
    """Write 2.0 as 2, because it is an integer for JSON Schema, but not for this API."""
    if isinstance(body, dict):
        return {
            name: int(value) if isinstance(value, float) and value.is_integer() else value
            for name, value in body.items()
        }
    return body


def is_weak(password):
    try:
        strength.refuse_weak(password)
    except ApiError:
        return True
    return False


def strengthen(body):
    """Replace weak passwords, because no schema can describe them."""
    for name in PASSWORDS:
        if isinstance(body, dict) and isinstance(body.get(name), str) and is_weak(body[name]):
            body[name] = "not so common"


@schemathesis.hook
def filter_body(_context, body):
    """Leave out names whose validity depends on NFKC, invisible letters or a newer Unicode."""
    name = body.get("user_name", "") if isinstance(body, dict) else ""
    if not isinstance(name, str):
        return True
    if "Cn" in map(unicodedata.category, name):  # a newer letter that this Python does not know
        return False
    return unicodedata.is_normalized("NFKC", name) and not INVISIBLE.search(name)


@schemathesis.hook
def before_call(_context, case, _kwargs):
    case.headers["X-Forwarded-For"] = next(addresses)
    strengthen(case.body)
    of_everybody = f"Bearer {os.environ['TOKEN']}"
    if case.path.endswith("/logout") and case.headers.get("Authorization") == of_everybody:
        case.headers["Authorization"] = f"Bearer {log_in()}"


def log_in():
    body = {"user_name": "libin", "password": os.environ["PASSWORD"]}
    headers = {"X-Forwarded-For": next(addresses)}
    reply = requests.post(f"{SERVER}/api/v1/login", json=body, headers=headers, timeout=30)
    return reply.json()["data"]["auth_token"]
