"""How often an account, an address or a client may try: the counters, their limits, their windows.

A device that an account knows (``auth.devices``) is bound by its own counts only, so nothing that
strangers do keeps it out. Everybody else shares the counts of the account.

A name and an address have counts of their own, whether or not an account has them. Common counts
would tell which name and which address belong together.
"""

from __future__ import annotations

from typing import NamedTuple

from flask import current_app

from gateway import throttle
from gateway.settings import INT32_MAX
from gateway.throttle import DAY, HOUR, MINUTE, Counter
from gateway.web.client import network

QUARTER = 15 * MINUTE
COUNTED = ("register", "reset")  # purposes of codes whose mails the address counts
DOTLESS = ("gmail.com", "googlemail.com")  # dots in the local part mean nothing there


class Limit(NamedTuple):
    """How many events are allowed within so many seconds of the first one.

    ``lock``: what an account then cannot do, in words for operators, who can lift it.
    """

    events: int
    seconds: int
    lock: str = ""


LIMITS = {
    # Wrong passwords for a name or an address: from a network, and in all; from a network, at all.
    "login-network": Limit(5, QUARTER, "log in from a network that guessed"),
    "login-day": Limit(100, DAY, "log in from new devices"),
    "login-ip": Limit(50, QUARTER),
    # Wrong passwords that come with a token of the account.
    "token-network": Limit(5, QUARTER, "change or erase the account from a network that guessed"),
    "token-day": Limit(100, DAY, "change or erase the account from new devices"),
    # Wrong passwords from a device that the account knows.
    "device": Limit(5, QUARTER, "be known on a device that guessed"),
    "device-day": Limit(50, DAY, "be known on a device that guessed"),
    "right-password": Limit(60, QUARTER, "log in from a client that did so too often"),
    # Codes for an address; for a new address of an account.
    "mail-minute": Limit(1, MINUTE, "get another code for a new password"),
    "mail-day": Limit(5, DAY, "get more codes for a new password"),
    "mail-own": Limit(2, HOUR),  # for an account's devices, when MAILS_PER_HOUR is used up
    "email-hour": Limit(5, HOUR, "get more codes for a new address"),
    "email-day": Limit(20, DAY, "get more codes for a new address"),
    # Wrong codes.
    "invitation-ip": Limit(20, HOUR),
    "wrong-code": Limit(INT32_MAX, MINUTE),  # never full; see codes.check
}
LOCKS = {name for name, limit in LIMITS.items() if limit.lock}
PASSWORD_LOCKS = {name for name in LOCKS if "mail" not in name}


def counter(name: str, subject: str, account: int | None = None) -> Counter:
    """Return the counter of a limit of the table for one subject."""
    return Counter(name, subject, LIMITS[name].events, LIMITS[name].seconds, account)


class Tries(NamedTuple):
    """The counters of one attempt to give a password.

    ``wrong``: count wrong passwords; when one is full, no password is accepted. The right password
    clears those of the account.
    ``right``: counts right passwords, because each costs as much time as a wrong one.
    """

    wrong: tuple[Counter, ...]
    right: Counter


def of_login(written: str, account: int | None, ip: str, device: str) -> Tries:
    """Return the counters of a login. An unknown name has the same ones as a known one.

    :param written: the key of the name or the address that the client sent.
    :param account: the id of the account that has it.
    :param device: from ``devices.of``; "" for everybody else, here and below.
    """
    of_network = counter("login-ip", network(ip))
    shared = (*_shared("login", written, ip, account), of_network)
    person = f"user {account}" if account else f"name {written}"
    return _tries(shared, f"{person} {network(ip)}", account, device)


def of_guesses(ip: str, *keys: str) -> tuple[Counter, ...]:
    """Return the counters of guesses from a network at names and addresses without an account."""
    return tuple(each for key in keys for each in _shared("login", key, ip, None))


def of_caller(user_id: int, ip: str, device: str) -> Tries:
    """Return the counters of a password that comes with a token of the account.

    Guesses without a token do not count here.
    """
    shared = _shared("token", str(user_id), ip, user_id)
    return _tries(shared, f"user {user_id} {network(ip)}", user_id, device)


def _tries(shared: tuple[Counter, ...], client: str, account: int | None, device: str) -> Tries:
    wrong = of_device(device, account) if device else shared
    return Tries(wrong, counter("right-password", device or client, account))


def of_device(device: str, account: int | None) -> tuple[Counter, ...]:
    """Return the counters of wrong passwords from a device."""
    return counter("device", device, account), counter("device-day", device, account)


def _shared(kind: str, subject: str, ip: str, account: int | None) -> tuple[Counter, ...]:
    return (
        counter(f"{kind}-network", f"{subject} {network(ip)}", account),
        counter(f"{kind}-day", subject, account),
    )


def mails(
    purpose: str, address: str, ip: str, *, device: str = "", account: int | None = None
) -> tuple[Counter, ...]:
    """Return the counters of a mailed code.

    :param address: the key of the e-mail address.
    :param account: the id of the account that has the address.
    """
    # name+1@example.com and name+2@example.com usually reach one mailbox.
    local, _, domain = address.partition("@")
    local = local.partition("+")[0]
    mailbox = f"{local.replace('.', '') if domain in DOTLESS else local}@{domain}"
    subject = f"{purpose} {mailbox} {device}".rstrip()
    of_address = counter("mail-minute", subject, account), counter("mail-day", subject, account)
    return (*of_address, *(() if device else _of_network(ip)), _in_all(device, account))


def mails_of_account(user_id: int, ip: str, device: str) -> tuple[Counter, ...]:
    """Return the counters of a code for a new address.

    The account counts, and not the address. Otherwise anybody could use up what its owner may get.
    """
    own = [counter(name, str(user_id), user_id) for name in ("email-hour", "email-day")]
    return (*own, *_of_network(ip), _in_all(device, user_id))


def _of_network(ip: str) -> tuple[Counter, ...]:
    """Return the counters of mails that a network causes; who owns an IPv6 /48 has many a /64."""
    limit = current_app.config["MAILS_PER_IP"]
    small = Counter("mail-ip", network(ip), limit, HOUR)
    return (small, Counter("mail-ip", network(ip, 48), 4 * limit, HOUR)) if ":" in ip else (small,)


def _in_all(device: str, account: int | None) -> Counter:
    everything = Counter("mail-all", "", current_app.config["MAILS_PER_HOUR"], HOUR)
    if device and throttle.is_full(everything):
        return counter("mail-own", str(account), account)
    return everything


def naming(*keys: str) -> tuple[Counter, ...]:
    """Return the counters that stay when those of an account are cleared, but name it.

    These are guesses at its name and address from before it was there, and mails to its address.

    :param keys: of the name and the address.
    """
    guesses = [counter("login-day", key) for key in keys]
    counted = [mails(purpose, key, "") for key in keys for purpose in COUNTED if "@" in key]
    return (*guesses, *(one for each in counted for one in of_address_only(each)))


def of_address_only(counters: tuple[Counter, ...]) -> tuple[Counter, ...]:
    """Return the counters to undo when the relay refuses a recipient for good.

    The mail then counts against the client that asked for it, not against the address.
    """
    return tuple(each for each in counters if each.name in ("mail-minute", "mail-day"))
