"""How often an account, an address or a client may try: the counters, their limits, their windows.

A client is an IPv4 address or an IPv6 /64. Whose counts bind it depends on whether the account
knows it (``auth.clients``): a client that it knows is bound by its own counts only, so nothing
that strangers do keeps it out. All other clients share the counts of the account.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from flask import current_app

from gateway.auth.models import User
from gateway.throttle import DAY, HOUR, MINUTE, Counter
from gateway.web.client import network

FAILURES = 5  # of an account and a client
FAILURES_OF_ACCOUNT = 100
FAILURES_OF_CLIENT = 50
RIGHT_PASSWORDS = 60
MAILS_OF_ADDRESS = 5

# What operators read about a full counter of an account, and when it is full.
LOCKS = {
    "login-account-ip": (FAILURES, "log in from a client that guessed"),
    "login-account": (FAILURES_OF_ACCOUNT, "log in from clients it does not know"),
    "login-written-ip": (FAILURES, "log in from a client that guessed"),
    "login-written": (FAILURES_OF_ACCOUNT, "log in from clients it does not know"),
    "token-account-ip": (FAILURES, "change or erase the account from a client that guessed"),
    "token-account": (
        FAILURES_OF_ACCOUNT,
        "change or erase the account from clients it does not know",
    ),
    "right-password": (RIGHT_PASSWORDS, "log in from a client that did so too often"),
    "mail-minute": (1, "get another code for a new password"),
    "mail-day": (MAILS_OF_ADDRESS, "get more codes for a new password"),
}
PASSWORD_LOCKS = {name for name in LOCKS if not name.startswith("mail-")}


class Tries(NamedTuple):
    """The counters of one attempt to give a password.

    ``told``: counts wrong passwords; when one is full, the client is told so.
    ``silent``: counts them, too; when one is full, every password counts as wrong. A guesser tries
    one account by its name and by its address. Both fill these counters, but a refusal would tell
    that the two belong together.
    ``cleared``: what the right password clears.
    ``right``: counts right passwords, because each costs as much time as a wrong one.
    """

    told: tuple[Counter, ...]
    silent: tuple[Counter, ...]
    cleared: tuple[Counter, ...]
    right: Counter


def of_login(written: str, user: User | None, ip: str, *, known: bool) -> Tries:
    """Return the counters of a login. An unknown name has the same ones as a known one.

    :param written: the key of the name or the address that the client sent.
    :param known: whether the account knows the client.
    """
    subject = f"user {user.id}" if user else f"name {written}"
    account = user.id if user else None
    own = _of_client("login-account-ip", subject, ip, account)
    right = _right(subject, ip, account)
    if known:
        return Tries((own,), (), (own,), right)
    everybody = _of_all("login-account", subject, account)
    spellings = (user.name_key, user.email_key) if user else (written,)
    of_spellings = {spelling: _of_spelling(spelling, ip, account) for spelling in spellings}
    cleared = (own, everybody, *(counter for both in of_spellings.values() for counter in both))
    told = (*of_spellings[written], Counter("login-ip", network(ip), FAILURES_OF_CLIENT, QUARTER))
    return Tries(told, (own, everybody), cleared, right)


def of_guesses(ip: str, *keys: str) -> tuple[Counter, ...]:
    """Return the counters of guesses at names and addresses, also from before they had an account.

    :param keys: of the names and addresses.
    """
    return tuple(counter for key in keys for counter in _of_spelling(key, ip, None))


def of_caller(user_id: int, ip: str, *, known: bool) -> Tries:
    """Return the counters of a password that comes with a token of the account.

    Guesses without a token do not count here, unless they come from a client that the account
    knows.
    """
    subject = f"user {user_id}"
    right = _right(subject, ip, user_id)
    if known:
        told: tuple[Counter, ...] = (_of_client("login-account-ip", subject, ip, user_id),)
    else:
        told = (
            _of_client("token-account-ip", subject, ip, user_id),
            _of_all("token-account", subject, user_id),
        )
    return Tries(told, (), told, right)


QUARTER = 15 * MINUTE


def _of_client(name: str, subject: str, ip: str, account: int | None) -> Counter:
    return Counter(name, f"{subject} {network(ip)}", FAILURES, QUARTER, account)


def _of_all(name: str, subject: str, account: int | None) -> Counter:
    return Counter(name, subject, FAILURES_OF_ACCOUNT, DAY, account)


def _of_spelling(key: str, ip: str, account: int | None) -> tuple[Counter, Counter]:
    """Return the counters of guesses at one name or address, whether or not it is an account's."""
    return (
        _of_client("login-written-ip", key, ip, account),
        _of_all("login-written", key, account),
    )


def _right(subject: str, ip: str, account: int | None) -> Counter:
    return Counter("right-password", f"{subject} {network(ip)}", RIGHT_PASSWORDS, QUARTER, account)


def mails(
    purpose: str, address: str, ip: str, *, known: str = "", account: int | None = None
) -> tuple[Counter, ...]:
    """Return the counters of a mailed code.

    :param purpose: of the code.
    :param address: the key of the e-mail address.
    :param known: the name of the client if the account of the address knows it.
    :param account: the id of the account that has the address.
    """
    # name+1@example.com and name+2@example.com usually reach one mailbox.
    local, _, domain = address.partition("@")
    subject = f"{purpose} {local.partition('+')[0]}@{domain} {known}".rstrip()
    of_address = (
        Counter("mail-minute", subject, 1, MINUTE, account),
        Counter("mail-day", subject, MAILS_OF_ADDRESS, DAY, account),
    )
    in_all = current_app.config["MAILS_PER_HOUR"]
    everything = Counter("mail-all", "", in_all, HOUR)
    if known:
        return (*of_address, everything)
    # The last fiftieth is for clients that an account knows.
    strangers = Counter("mail-strangers", "", in_all - in_all // 50, HOUR)
    of_client = Counter("mail-ip", network(ip), current_app.config["MAILS_PER_IP"], HOUR)
    return (*of_address, of_client, strangers, everything)


def naming(purposes: Collection[str], *keys: str) -> tuple[Counter, ...]:
    """Return the counters that stay when those of an account are cleared, but name it.

    These are guesses at its name and address from before it was there, and mails to its address.

    :param purposes: of mailed codes.
    :param keys: of the name and the address.
    """
    guesses = [_of_all("login-written", key, None) for key in keys]
    counted = [mails(purpose, key, "") for key in keys for purpose in purposes if "@" in key]
    return (*guesses, *(counter for each in counted for counter in of_address_only(each)))


def of_address_only(counters: tuple[Counter, ...]) -> tuple[Counter, ...]:
    """Return the counters to undo when the relay refuses a recipient for good.

    The mail then counts against the client that asked for it, not against the address.
    """
    return tuple(counter for counter in counters if counter.name in ("mail-minute", "mail-day"))
