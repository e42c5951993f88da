"""Who sends the present request: its id, the client's address, the client's network."""

from __future__ import annotations

import ipaddress
import re
import uuid
from ipaddress import IPv4Address, IPv6Address

from flask import current_app, g, has_request_context, request

from gateway import log

# As proxies write an address: bare, with a port, in brackets, in brackets with a port.
_ADDRESS = re.compile(r"\[([0-9A-Fa-f:.]+(?:%[^\]]*)?)\](?::\d*)?|([\d.]+):\d*")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052
FORWARDED = {"forwarded", "via", "x-forwarded-for", "x-real-ip"}  # headers that proxies add
LOCAL_PEERS = ("127.0.0.1", "::1", "::ffff:127.0.0.1", "")  # "" is a Unix socket
_WARNED = "gateway.warned_of_proxy"  # key in app.extensions
_REQUEST_ID = re.compile(r"[\w.-]{1,64}", re.ASCII)


def request_id() -> str:
    """Return the id of the present request: the client's own if it is well-formed, or a new one.

    Outside a request, return "-".
    """
    if not g:
        return "-"
    if "request_id" not in g:
        given = request.headers.get("X-Request-ID", "") if has_request_context() else "-"
        g.request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
    return str(g.request_id)


def is_forwarded() -> bool:
    """Tell whether the present request comes through a proxy."""
    return not FORWARDED.isdisjoint(name.lower() for name, _ in request.headers)


def client_ip() -> str:
    """Return the client's IP address in canonical form, or "" when the peer has none.

    The last TRUSTED_PROXIES entries of X-Forwarded-For come from our own proxies; the first of
    these is the client. When it is not an IP address, the answer is the peer's address. The zone of
    an IPv6 address is dropped, because it means something only on the machine that wrote it.
    """
    hops = current_app.config["TRUSTED_PROXIES"]
    forwarded = request.headers.get("X-Forwarded-For", "").split(",")
    client = forwarded[-hops].strip() if 0 < hops <= len(forwarded) else ""
    peer = request.remote_addr or ""
    if forwarded != [""] and not hops and peer in LOCAL_PEERS:
        _warn_of_proxy()
    for text in (client, peer):
        written = _ADDRESS.fullmatch(text)
        bare = (written[1] or written[2]) if written else text
        try:
            address = ipaddress.ip_address(bare.partition("%")[0])
        except ValueError:
            continue
        return str(_without_translation(address))
    return ""


def _without_translation(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """Return the IPv4 address in an IPv6 one; all clients of a NAT64 would else share a /64."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address


def _warn_of_proxy() -> None:
    """Write one warning that a proxy is not believed, because then all people share one address."""
    if _WARNED not in current_app.extensions:
        current_app.extensions[_WARNED] = True
        log.logger.warning(
            "a proxy on this machine sends X-Forwarded-For, but TRUSTED_PROXIES is 0, so all people"
            " share one address and its limits; set TRUSTED_PROXIES to the number of proxies"
        )


def network(ip: str, prefix: int = 64) -> str:
    """Return the network that limits count an IP address under: an IPv6 /64, or the IPv4 address.

    One IPv6 customer owns at least a /64, so a limit on single addresses would limit nobody.

    :param prefix: another length for IPv6.
    """
    if ":" not in ip:
        return ip
    return str(ipaddress.ip_network(f"{ip}/{prefix}", strict=False))
