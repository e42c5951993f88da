"""The table of projects."""

from __future__ import annotations

from datetime import date, datetime

from sqlalchemy import BigInteger, ForeignKey, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from gateway.extensions import Base, UtcDateTime

KEY_LENGTH = 16
SECRET_LENGTH = 48


class Project(Base):
    """An API key with its secret, its allowance and its exact counters."""

    __tablename__ = "projects"
    __table_args__ = {"sqlite_autoincrement": True}

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    project_name: Mapped[str] = mapped_column(String(128))
    project_type: Mapped[int]
    project_key: Mapped[str] = mapped_column(String(KEY_LENGTH), unique=True)
    secret_hash: Mapped[str] = mapped_column(String(64))
    sealed_secret: Mapped[str] = mapped_column(Text)
    deleted: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    request_total: Mapped[int] = mapped_column(BigInteger, default=0)
    request_day: Mapped[date | None]
    request_count: Mapped[int] = mapped_column(default=0)
    request_max: Mapped[int]
    pool_id: Mapped[int] = mapped_column(default=0)
    pool_name: Mapped[str] = mapped_column(String(64), default="")

    def requests_on(self, day: date) -> int:
        """Return how many requests were counted on a day; a new day begins at 0."""
        return self.request_count if self.request_day == day else 0
