"""Everything that is stored about a person, for the person, without hashes and secrets."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

from sqlalchemy import ColumnElement, select

from gateway import throttle
from gateway.auth import admin, codes
from gateway.auth.models import MailCode, User
from gateway.db import Base, db
from gateway.mail import outbox
from gateway.mail.models import OwedMail
from gateway.project import usage
from gateway.project.models import Project

HIDDEN = {"password_hash", "secret_hash", "sealed_secret", "old_secret_hash"}
HIDDEN |= {"kept_jti", "name_key", "email_key"}


def of_person(who: str) -> dict[str, Any]:
    """Return what is stored about an account, as values for JSON; times are UTC.

    :param who: a user name or an e-mail address.
    :raises ApiError: 1006 when there is no such account.
    """
    user = admin.find(who)
    address, its_codes = user.email_key, _rows(MailCode, codes.belong_to(user.email_key, user.id))
    return {
        "account": {**_columns(user), "role": user.role},
        "projects": _projects(user),
        "codes": [
            {
                "purpose": code.purpose.partition(" ")[0],
                "email": code.email_key,
                "valid_until": _plain(code.expires_at),
            }
            for code in its_codes
        ],
        "limits": [
            {"name": count.name, "count": count.count, "until": _plain(count.expires_at)}
            for count in throttle.counts_of(user.id)
        ],
        "owed_mails": [
            {"kind": owed.kind, "to": owed.details.get("email", address), "language": owed.language}
            for owed in _rows(OwedMail, outbox.belong_to(address, user.id))
        ],
    }


def _projects(user: User) -> list[dict[str, Any]]:
    """Return the projects of an account, also the deleted ones that are not purged yet."""
    counts = usage.of_days(user_id=user.id)
    return [
        {
            **_columns(project),
            "pool_name": project.pool_name,
            "requests": {str(day): n for day, n in sorted(counts[project.id].items())},
        }
        for project in _rows(Project, Project.user_id == user.id)
    ]


def _rows(model: Any, is_meant: ColumnElement[bool]) -> Sequence[Any]:
    order = model.__table__.primary_key.columns
    return db.session.scalars(select(model).where(is_meant).order_by(*order)).all()


def _columns(row: Base) -> dict[str, Any]:
    """Return all columns of a row but secrets, hashes and the keys made of other columns."""
    return {
        column.name.removeprefix("is_").removesuffix("_at"): _plain(getattr(row, column.name))
        for column in row.__table__.columns
        if column.name not in HIDDEN
    }


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    return str(value) if isinstance(value, date) else value
