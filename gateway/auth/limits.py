"""How often an account, an address or a client may try: the counters, their limits, their windows.

A client is an IPv4 address or an IPv6 /64.
"""

from __future__ import annotations

from collections.abc import Iterable

from flask import current_app

from gateway.throttle import DAY, HOUR, MINUTE, Counter
from gateway.web.client import network


def account_failures(account: str, ip: str) -> tuple[Counter, Counter]:
    """Return the counters of an account's wrong passwords; the right password clears them.

    :param account: "user " and the id, or "name " and the key of a name that no account has.
    """
    return (
        Counter("login-account-ip", f"{account} {network(ip)}", 5, 15 * MINUTE),
        Counter("login-account", account, 100, DAY),
    )


def failures(account: str, ip: str) -> tuple[Counter, ...]:
    """Return every counter of a wrong password, in the order in which their rows are locked."""
    return (*account_failures(account, ip), Counter("login-ip", network(ip), 50, 15 * MINUTE))


def mails(purpose: str, address: str, ip: str) -> tuple[Counter, ...]:
    """Return the counters of a mailed code, in the order in which their rows are locked.

    :param purpose: of the code.
    :param address: the key of the e-mail address.
    """
    subject = f"{purpose} {address}"
    return (
        Counter("mail-minute", subject, 1, MINUTE),
        Counter("mail-day", subject, 5, DAY),
        Counter("mail-ip", network(ip), current_app.config["MAILS_PER_IP"], HOUR),
    )


def of_address(counters: Iterable[Counter]) -> tuple[Counter, ...]:
    """Return those counters of a mail that count for its address, not for the client."""
    return tuple(counter for counter in counters if counter.name in ("mail-minute", "mail-day"))
