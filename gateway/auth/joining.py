"""Who may join: REGISTRATION, MAIL_DOMAINS, and invitations.

An invitation is a mailed code that lives for 7 days. It has more digits than any registration code
can have. So the code itself says which of the two it is, and what strangers do with registration
codes costs an invitation nothing.
"""

from __future__ import annotations

from flask import current_app

from gateway.auth import codes
from gateway.errors import ApiError, Code

CLOSED = "Registration is closed; ask who runs this service"
BY_INVITATION = (
    "Registration is by invitation; ask the people who run this service for one, then register with"
    f" its {codes.INVITE_DIGITS} digits"
)


def refuse_closed() -> None:
    """Raise 1000 when nobody may register."""
    if current_app.config["REGISTRATION"] == "closed":
        raise _refusal()


def refuse_uninvited() -> None:
    """Raise 1000 unless everybody may ask for a registration code."""
    if current_app.config["REGISTRATION"] != "open":
        raise _refusal()


def purpose_of(reg_code: str) -> str:
    """Return what a code is for that somebody registers with.

    :raises ApiError: 1000 when registration is closed, or by invitation and this is none.
    """
    refuse_closed()
    if len(reg_code) == codes.INVITE_DIGITS:
        return codes.INVITE
    refuse_uninvited()
    return codes.REGISTER


def _refusal() -> ApiError:
    is_closed = current_app.config["REGISTRATION"] == "closed"
    return ApiError(Code.ACCESS_DENIED, CLOSED if is_closed else BY_INVITATION)


def refuse_domain(address: str) -> None:
    """Raise 1003 when MAIL_DOMAINS names domains, and not that of an address.

    :param address: the key of the e-mail address.
    """
    domains = current_app.config["MAIL_DOMAINS"]
    if domains and address.rpartition("@")[2] not in domains:
        raise ApiError(
            Code.INVALID_PARAMETER, f"email must be an address at {' or '.join(domains)}"
        )
