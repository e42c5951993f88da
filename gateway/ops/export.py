"""Everything that is stored about a person, for the person, without hashes and secrets."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, select

from gateway import clock, throttle
from gateway.auth import admin, codes
from gateway.auth.models import MailCode, User
from gateway.db import db
from gateway.mail import outbox
from gateway.mail.outbox import OwedMail
from gateway.project import limits, usage
from gateway.project.models import Project


def of_person(who: str) -> dict[str, Any]:
    """Return what is stored about an account, as values for JSON; times are UTC.

    :param who: a user name or an e-mail address.
    :raises ApiError: 1006 when there is no such account.
    """
    user = admin.find(who)
    address, its_codes = user.email_key, _rows(MailCode, codes.belong_to(user.email_key, user.id))
    return {
        "account": {
            "id": user.id,
            "user_name": user.user_name,
            "email": user.email,
            "role": user.role,
            "language": user.language,
            "banned": user.is_banned,
            "created": _time(user.created_at),
        },
        "projects": _projects(user),
        "codes": [
            {
                "purpose": code.purpose.partition(" ")[0],
                "email": code.email_key,
                "valid_until": _time(code.expires_at),
            }
            for code in its_codes
        ],
        "limits": [
            {"name": count.name, "count": count.count, "until": _time(count.expires_at)}
            for count in throttle.counts_of(user.id)
        ],
        "owed_mails": [
            {"kind": owed.kind, "to": owed.details.get("email", address), "language": owed.language}
            for owed in _rows(OwedMail, outbox.belong_to(address, user.id))
        ],
    }


def _projects(user: User) -> list[dict[str, Any]]:
    """Return the projects of an account, also the deleted ones that are not purged yet."""
    counts = usage.counts_of_user(user.id, *limits.days(clock.now()))
    return [
        {
            "id": project.id,
            "project_name": project.project_name,
            "project_type": project.project_type,
            "project_key": project.project_key,
            "deleted": project.deleted,
            "created": _time(project.created_at),
            "active_until": _time(project.active_until),
            "pool_name": project.pool_name,
            "request_max": project.request_max,
            "request_total": project.request_total,
            "requests": {str(day): n for day, n in sorted(counts.get(project.id, {}).items())},
        }
        for project in _rows(Project, Project.user_id == user.id)
    ]


def _rows(model: Any, is_meant: ColumnElement[bool]) -> Sequence[Any]:
    order = model.__table__.primary_key.columns
    return db.session.scalars(select(model).where(is_meant).order_by(*order)).all()


def _time(moment: datetime | None) -> str | None:
    return f"{moment:%Y-%m-%d %H:%M:%S}" if moment else None
