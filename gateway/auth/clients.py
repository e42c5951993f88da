"""The clients that an account knows: those from which somebody logged in with its password.

What strangers do must keep nobody out. So limits count each client that the account knows by
itself, and everybody else together.
"""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import delete, select, tuple_

from gateway import clock, crypto
from gateway.auth.models import KnownClient
from gateway.db import db, dialect
from gateway.web.client import network

KNOWN_FOR = timedelta(days=90)  # after a right login
MAX_KNOWN = 50  # clients of one account


def known(user_id: int | None, ip: str) -> str:
    """Return the name of a client that the account knows, or "" for everybody else.

    :param user_id: None when there is no such account; this takes the same time.
    """
    return (
        db.session.scalar(
            select(KnownClient.client).where(
                KnownClient.user_id == (user_id or 0),
                KnownClient.client == crypto.client_hash(user_id or 0, network(ip)),
                KnownClient.expires_at > clock.now(),
            )
        )
        or ""
    )


def remember(user_id: int, ip: str) -> None:
    """Know a client from now on, after a right login from it.

    The caller holds the account, and commits.

    Only the newest ``MAX_KNOWN`` clients stay known, because one account must not fill the table.
    """
    if not ip:  # the proxy does not say who asks, so this would be everybody
        return
    until = {"expires_at": clock.now() + KNOWN_FOR}
    db.session.execute(
        dialect()
        .insert(KnownClient)
        .values(user_id=user_id, client=crypto.client_hash(user_id, network(ip)), **until)
        .on_conflict_do_update(index_elements=[KnownClient.user_id, KnownClient.client], set_=until)
    )
    own = KnownClient.user_id == user_id
    newest_first = select(KnownClient.client).where(own).order_by(KnownClient.expires_at.desc())
    oldest = db.session.scalars(newest_first.offset(MAX_KNOWN)).all()
    if oldest:
        key = (KnownClient.user_id, KnownClient.client)
        # A client that logs in at this moment has its row locked, and stays.
        unlocked = select(*key).where(own, KnownClient.client.in_(oldest))
        db.session.execute(
            delete(KnownClient).where(tuple_(*key).in_(unlocked.with_for_update(skip_locked=True)))
        )
