"""Create the tables of version 0.1.0."""

import sqlalchemy as sa
from alembic import op
from alembic.util import CommandError

revision = "0004"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "users",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("user_name", sa.String(length=64), nullable=False),
        sa.Column("name_key", sa.String(length=255), nullable=False, unique=True),
        sa.Column("email", sa.String(length=254), nullable=False),
        sa.Column("email_key", sa.String(length=254), nullable=False, unique=True),
        sa.Column("password_hash", sa.String(length=255), nullable=False),
        sa.Column("is_admin", sa.Boolean(), nullable=False),
        sa.Column("is_banned", sa.Boolean(), nullable=False),
        sa.Column("live_projects", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("token_generation", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("kept_jti", sa.String(length=36)),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "mail_codes",
        sa.Column("purpose", sa.String(length=16), primary_key=True),
        sa.Column("email_key", sa.String(length=254), primary_key=True),
        sa.Column("code_hash", sa.String(length=64), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False, index=True),
    )
    op.create_table(
        "revoked_tokens",
        sa.Column("jti", sa.String(length=36), primary_key=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False, index=True),
    )
    op.create_table(
        "throttle_counts",
        sa.Column("key", sa.String(length=64), primary_key=True),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False, index=True),
    )
    op.create_table(
        "pools",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("pool_name", sa.String(length=63), nullable=False, unique=True),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "projects",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("user_id", sa.Integer(), sa.ForeignKey("users.id"), nullable=False),
        sa.Column("project_name", sa.String(length=128), nullable=False),
        sa.Column("project_type", sa.Integer(), nullable=False),
        sa.Column("project_key", sa.String(length=16), nullable=False, unique=True),
        sa.Column("secret_hash", sa.String(length=64), nullable=False),
        sa.Column("sealed_secret", sa.Text(), nullable=False),
        sa.Column("deleted", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("request_total", sa.BigInteger(), nullable=False),
        sa.Column("request_day", sa.Date(), nullable=True),
        sa.Column("request_count", sa.Integer(), nullable=False),
        sa.Column("request_max", sa.Integer(), nullable=False),
        sa.Column("pool_id", sa.Integer(), sa.ForeignKey("pools.id"), index=True),
        sa.Column("old_secret_hash", sa.String(length=64)),
        sa.Column("old_secret_until", sa.DateTime(timezone=True)),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_projects_live", "projects", ["user_id", "deleted", "id"])


def downgrade() -> None:
    raise CommandError("0004 is the first schema; there is none before it, and nothing was changed")
