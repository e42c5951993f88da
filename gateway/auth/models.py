"""Tables of accounts, mailed codes and revoked tokens."""

from __future__ import annotations

import unicodedata
from datetime import datetime

from sqlalchemy import String, select
from sqlalchemy.orm import Mapped, mapped_column

from gateway.db import Base, UtcDateTime, db
from gateway.web.fields import MAX_SENT

ADMIN_PRIVILEGES = [
    "ProjectListAny",
    "ProjectDeleteAny",
    "ProjectRotateAny",
    "ProjectEditAny",
    "UserManage",
]


def name_key(user_name: str) -> str:
    """Return the unique form of a user name: NFKC and casefold, which SQL's lower() cannot do."""
    folded = unicodedata.normalize("NFKC", user_name.strip()).casefold()
    return unicodedata.normalize("NFKC", folded)


def email_key(email: str) -> str:
    """Return the unique form of an e-mail address."""
    return email.casefold()


class User(Base):
    """An account."""

    __tablename__ = "users"
    # Tokens hold the id, so the id of a deleted account must never be given to another one.
    __table_args__ = {"sqlite_autoincrement": True}

    id: Mapped[int] = mapped_column(primary_key=True)
    user_name: Mapped[str] = mapped_column(String(64))
    name_key: Mapped[str] = mapped_column(String(255), unique=True)
    email: Mapped[str] = mapped_column(String(254))
    email_key: Mapped[str] = mapped_column(String(254), unique=True)
    password_hash: Mapped[str] = mapped_column(String(255))
    is_admin: Mapped[bool] = mapped_column(default=False)
    is_banned: Mapped[bool] = mapped_column(default=False)
    live_projects: Mapped[int] = mapped_column(default=0)
    projects_max: Mapped[int | None]  # None is PROJECTS_PER_USER
    # How often all tokens were revoked. A token is valid when it holds this number, or when it is
    # the one token that was kept at the last revocation.
    token_generation: Mapped[int] = mapped_column(default=0)
    kept_jti: Mapped[str | None] = mapped_column(String(36))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    # Of mails that no request of the person asks for; one of ``mail.LANGUAGES``.
    language: Mapped[str] = mapped_column(String(8), default="en", server_default="en")

    @property
    def role(self) -> str:
        """The name of the role in login's reply; "" is an ordinary user."""
        return "admin" if self.is_admin else ""

    @property
    def privilege(self) -> list[str]:
        """What the role allows beyond the account's own data."""
        return ADMIN_PRIVILEGES if self.is_admin else []


def login_key(name_or_email: str) -> str:
    """Return the unique form of a user name or an e-mail address; no user name holds an "@"."""
    return email_key(name_or_email) if "@" in name_or_email else name_key(name_or_email)


def find_user(name_or_email: str) -> User | None:
    """Return the account with this user name or e-mail address."""
    if len(name_or_email) > MAX_SENT:
        return None
    column = User.email_key if "@" in name_or_email else User.name_key
    return db.session.scalars(select(User).where(column == login_key(name_or_email))).first()


class MailCode(Base):
    """The open code of an address for one purpose and one asker, as a keyed hash.

    ``asker`` is the keyed hash of a device or a network, or "" for an invitation.
    """

    __tablename__ = "mail_codes"

    purpose: Mapped[str] = mapped_column(String(16), primary_key=True)
    email_key: Mapped[str] = mapped_column(String(254), primary_key=True)
    asker: Mapped[str] = mapped_column(String(64), primary_key=True, default="")
    code_hash: Mapped[str] = mapped_column(String(64))
    tries: Mapped[int] = mapped_column(default=0)  # by ``asker``
    other_tries: Mapped[int] = mapped_column(default=0)  # by all others
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)


class RevokedToken(Base):
    """A token that is refused before it expires."""

    __tablename__ = "revoked_tokens"

    jti: Mapped[str] = mapped_column(String(36), primary_key=True)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
