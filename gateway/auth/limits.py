"""How often an account, an address or a client may try: the counters, their limits, their windows.

A device that an account knows (``auth.devices``) is bound by its own counts only, so nothing that
strangers do keeps it out. Everybody else shares the counts of the account.

A name and an address have counts of their own, whether or not an account has them. Common counts
would tell which name and which address belong together.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from flask import current_app

from gateway import throttle
from gateway.settings import INT32_MAX
from gateway.throttle import DAY, HOUR, MINUTE, Counter
from gateway.web.client import network

QUARTER = 15 * MINUTE
FAILURES = 5  # of an account and a network, or of a device
FAILURES_OF_DEVICE = 50  # in a day
FAILURES_OF_ACCOUNT = 100
FAILURES_OF_NETWORK = 50
RIGHT_PASSWORDS = 60
MAILS_OF_ADDRESS = 5
OWN_MAILS = 2  # of an account, for its devices, when MAILS_PER_HOUR is used up
ADDRESS_MAILS_PER_HOUR, ADDRESS_MAILS_PER_DAY = 5, 20  # codes for a new address, of an account
INVITATIONS = 20  # wrong codes of invitations from a network
DOTLESS = ("gmail.com", "googlemail.com")  # dots in the local part mean nothing there

# What operators read about a full counter of an account, and when it is full.
LOCKS = {
    "login-network": (FAILURES, "log in from a network that guessed"),
    "login-day": (FAILURES_OF_ACCOUNT, "log in from new devices"),
    "token-network": (FAILURES, "change or erase the account from a network that guessed"),
    "token-day": (FAILURES_OF_ACCOUNT, "change or erase the account from new devices"),
    "device": (FAILURES, "be known on a device that guessed"),
    "device-day": (FAILURES_OF_DEVICE, "be known on a device that guessed"),
    "right-password": (RIGHT_PASSWORDS, "log in from a client that did so too often"),
    "mail-minute": (1, "get another code for a new password"),
    "mail-day": (MAILS_OF_ADDRESS, "get more codes for a new password"),
    "email-hour": (ADDRESS_MAILS_PER_HOUR, "get more codes for a new address"),
    "email-day": (ADDRESS_MAILS_PER_DAY, "get more codes for a new address"),
}
PASSWORD_LOCKS = {name for name in LOCKS if "mail" not in name}


class Tries(NamedTuple):
    """The counters of one attempt to give a password.

    ``wrong``: count wrong passwords; when one is full, no password is accepted.
    ``cleared``: what the right password clears.
    ``right``: counts right passwords, because each costs as much time as a wrong one.
    """

    wrong: tuple[Counter, ...]
    cleared: tuple[Counter, ...]
    right: Counter


def of_login(written: str, account: int | None, ip: str, device: str) -> Tries:
    """Return the counters of a login. An unknown name has the same ones as a known one.

    :param written: the key of the name or the address that the client sent.
    :param account: the id of the account that has it.
    :param device: from ``devices.of``; "" for everybody else, here and below.
    """
    if device:
        return _of_known(device, account)
    of_name = of_guesses(ip, written, account=account)
    of_network = Counter("login-ip", network(ip), FAILURES_OF_NETWORK, QUARTER)
    return Tries((*of_name, of_network), of_name, _right(written, ip, account))


def of_guesses(ip: str, *keys: str, account: int | None = None) -> tuple[Counter, ...]:
    """Return the counters of guesses from a network at names and addresses.

    :param account: None counts from before an account had them.
    """
    return tuple(counter for key in keys for counter in _shared("login", key, ip, account))


def of_caller(user_id: int, ip: str, device: str) -> Tries:
    """Return the counters of a password that comes with a token of the account.

    Guesses without a token do not count here.
    """
    if device:
        return _of_known(device, user_id)
    wrong = _shared("token", str(user_id), ip, user_id)
    return Tries(wrong, wrong, _right("", ip, user_id))


def of_device(device: str, account: int | None) -> tuple[Counter, ...]:
    """Return the counters of wrong passwords from a device."""
    return (
        Counter("device", device, FAILURES, QUARTER, account),
        Counter("device-day", device, FAILURES_OF_DEVICE, DAY, account),
    )


def _of_known(device: str, account: int | None) -> Tries:
    wrong = of_device(device, account)
    return Tries(wrong, wrong, Counter("right-password", device, RIGHT_PASSWORDS, QUARTER, account))


def _shared(kind: str, subject: str, ip: str, account: int | None) -> tuple[Counter, ...]:
    return (
        Counter(f"{kind}-network", f"{subject} {network(ip)}", FAILURES, QUARTER, account),
        Counter(f"{kind}-day", subject, FAILURES_OF_ACCOUNT, DAY, account),
    )


def _right(written: str, ip: str, account: int | None) -> Counter:
    subject = f"user {account}" if account else f"name {written}"
    return Counter("right-password", f"{subject} {network(ip)}", RIGHT_PASSWORDS, QUARTER, account)


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
    of_address = (
        Counter("mail-minute", subject, 1, MINUTE, account),
        Counter("mail-day", subject, MAILS_OF_ADDRESS, DAY, account),
    )
    return (*of_address, *(() if device else _of_network(ip)), _in_all(device, account))


def mails_of_account(user_id: int, ip: str, device: str) -> tuple[Counter, ...]:
    """Return the counters of a code for a new address.

    The account counts, and not the address. Otherwise anybody could use up what its owner may get.
    """
    own = (
        Counter("email-hour", str(user_id), ADDRESS_MAILS_PER_HOUR, HOUR, user_id),
        Counter("email-day", str(user_id), ADDRESS_MAILS_PER_DAY, DAY, user_id),
    )
    return (*own, *_of_network(ip), _in_all(device, user_id))


def _of_network(ip: str) -> tuple[Counter, ...]:
    """Return the counters of mails that a network causes; who owns an IPv6 /48 has many a /64."""
    limit = current_app.config["MAILS_PER_IP"]
    small = Counter("mail-ip", network(ip), limit, HOUR)
    return (small, Counter("mail-ip", network(ip, 48), 4 * limit, HOUR)) if ":" in ip else (small,)


def _in_all(device: str, account: int | None) -> Counter:
    everything = Counter("mail-all", "", current_app.config["MAILS_PER_HOUR"], HOUR)
    if device and throttle.is_full(everything):
        return Counter("mail-own", str(account), OWN_MAILS, HOUR, account)
    return everything


def invitations(ip: str) -> Counter:
    """Return the counter of wrong codes of invitations, which count for the network only."""
    return Counter("invitation-ip", network(ip), INVITATIONS, HOUR)


def without_code(asker: str) -> Counter:
    """Return a counter that is never full."""
    return Counter("no-code", asker, INT32_MAX, MINUTE)


def naming(purposes: Collection[str], *keys: str) -> tuple[Counter, ...]:
    """Return the counters that stay when those of an account are cleared, but name it.

    These are guesses at its name and address from before it was there, and mails to its address.

    :param purposes: of mailed codes.
    :param keys: of the name and the address.
    """
    guesses = [_shared("login", key, "", None)[1] for key in keys]
    counted = [mails(purpose, key, "") for key in keys for purpose in purposes if "@" in key]
    return (*guesses, *(counter for each in counted for counter in of_address_only(each)))


def of_address_only(counters: tuple[Counter, ...]) -> tuple[Counter, ...]:
    """Return the counters to undo when the relay refuses a recipient for good.

    The mail then counts against the client that asked for it, not against the address.
    """
    return tuple(counter for counter in counters if counter.name in ("mail-minute", "mail-day"))
