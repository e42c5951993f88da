"""Device cookies: know a client that has logged in to an account before (OWASP, "device cookies").

What strangers do must keep nobody out. So limits count each device by itself, and everybody else
together. The cookie proves nothing but the earlier login, and no list of devices is stored.
"""

from __future__ import annotations

import re
import secrets
from datetime import timedelta
from typing import NamedTuple

from flask import Response, current_app, request

from gateway import clock, crypto, throttle
from gateway.auth import limits
from gateway.web.client import client_ip, network

LIFETIME = timedelta(days=90)
# Version, user id, nonce, time of issue in unix seconds, MAC of what stands before it.
_COOKIE = re.compile(r"(1\.(\d{1,10})\.([0-9a-f]{32})\.(\d{1,11}))\.([0-9a-f]{64})", re.ASCII)


class Client(NamedTuple):
    """Who sends a request: the IP address, and the values of each cookie by its name."""

    ip: str
    cookies: dict[str, list[str]]

    def nonce(self, user_id: int) -> str:
        """Return the nonce of a valid device cookie for an account, or ""."""
        now = int(clock.now().timestamp())
        for value in self.cookies.get(_name(user_id), []):
            found = _COOKIE.fullmatch(value)
            if found is None or not crypto.is_signed("device-cookie", found[1], found[5]):
                continue
            age = timedelta(seconds=now - int(found[4]))
            if int(found[2]) == user_id and -clock.LEEWAY <= age < LIFETIME:
                return found[3]
        return ""


def client() -> Client:
    """Return who sends the present request.

    Cookies count for nothing when another site has the browser send them.
    """
    is_own = request.headers.get("Sec-Fetch-Site", "none") in ("same-origin", "none")
    return Client(client_ip(), request.cookies.to_dict(flat=False) if is_own else {})


def of(client: Client, user_id: int | None) -> str:
    """Return the name of a client's device for an account, a keyed hash.

    It is "" for everybody else, and for a device that has given too many wrong passwords.
    """
    nonce = client.nonce(user_id) if user_id else ""
    device = crypto.keyed_hash("device", nonce) if nonce else ""
    return "" if device and throttle.is_full(*limits.of_device(device, user_id)) else device


def asker(client: Client, device: str) -> str:
    """Return the name of who asks for a code, a keyed hash: of the device, else of the network."""
    return device or crypto.keyed_hash("network", network(client.ip))


def remember(response: Response, client: Client, user_id: int) -> Response:
    """Give the client a device cookie after a right password; a device keeps its nonce."""
    nonce = client.nonce(user_id) or secrets.token_hex(16)
    signed = f"1.{user_id}.{nonce}.{int(clock.now().timestamp())}"
    mac = crypto.keyed_hash("device-cookie", signed)
    return _set(response, user_id, f"{signed}.{mac}", LIFETIME)


def forget(response: Response, user_id: int) -> Response:
    """Expire the device cookie of an account."""
    return _set(response, user_id, "", timedelta())


def _name(user_id: int) -> str:
    return f"gateway_device_{user_id}"


def _set(response: Response, user_id: int, value: str, lifetime: timedelta) -> Response:
    forwarded = request.headers.get("X-Forwarded-Proto", "").partition(",")[0].strip().lower()
    public = current_app.config["PUBLIC_URL"].partition(":")[0]
    response.set_cookie(
        _name(user_id),
        value,
        max_age=lifetime,
        path="/api/v1",
        secure="https" in (request.scheme, forwarded, public),
        httponly=True,
        samesite="Strict",
    )
    return response
