"""Remember the clients that accounts know, and wipe the secrets of deleted projects."""

from datetime import datetime, timedelta, timezone

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "known_clients",
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("client", sa.String(length=64), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name="fk_known_clients_user_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("user_id", "client", name="pk_known_clients"),
    )
    op.create_index("ix_known_clients_expires_at", "known_clients", ["expires_at"])
    replace_codes(
        [sa.Column("client", sa.String(length=64), nullable=False)],
        [sa.Column("other_tries", sa.Integer(), nullable=False)],
    )
    op.execute(
        "INSERT INTO mail_codes SELECT purpose, email_key, '', code_hash, tries, 0, expires_at"
        " FROM old_mail_codes"
    )
    op.drop_table("old_mail_codes")
    op.add_column(
        "throttle_counts",
        sa.Column("name", sa.String(length=32), nullable=False, server_default=""),
    )
    op.add_column("throttle_counts", sa.Column("account", sa.Integer()))
    op.create_index("ix_throttle_counts_account", "throttle_counts", ["account"])
    op.add_column("projects", sa.Column("expires_at", sa.DateTime(timezone=True)))
    op.create_index("ix_projects_expires_at", "projects", ["expires_at"])
    wipe_deleted_projects()


def replace_codes(key_columns, count_columns) -> None:
    """Make the table of codes anew beside the old one, because SQLite cannot change a key."""
    op.drop_index("ix_mail_codes_expires_at", "mail_codes")
    op.rename_table("mail_codes", "old_mail_codes")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER INDEX pk_mail_codes RENAME TO pk_old_mail_codes")
    op.create_table(
        "mail_codes",
        sa.Column("purpose", sa.String(length=16), nullable=False),
        sa.Column("email_key", sa.String(length=254), nullable=False),
        *key_columns,
        sa.Column("code_hash", sa.String(length=64), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        *count_columns,
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint(
            "purpose", "email_key", *[column.name for column in key_columns], name="pk_mail_codes"
        ),
    )
    op.create_index("ix_mail_codes_expires_at", "mail_codes", ["expires_at"])


def wipe_deleted_projects() -> None:
    projects = sa.table(
        "projects",
        *map(sa.column, ("deleted", "secret_hash", "sealed_secret", "old_secret_hash")),
        sa.column("old_secret_until"),
        sa.column("expires_at", sa.DateTime(timezone=True)),
    )
    op.execute(
        projects.update()
        .where(projects.c.deleted == sa.true())
        .values(
            secret_hash="",
            sealed_secret="",
            old_secret_hash=None,
            old_secret_until=None,
            expires_at=datetime.now(timezone.utc) + timedelta(days=30),
        )
    )


def downgrade() -> None:
    for table, column in (("projects", "expires_at"), ("throttle_counts", "account")):
        op.drop_index(f"ix_{table}_{column}", table)
        op.drop_column(table, column)
    op.drop_column("throttle_counts", "name")
    replace_codes([], [])
    op.execute(
        "INSERT INTO mail_codes SELECT purpose, email_key, code_hash, tries, expires_at"
        " FROM old_mail_codes WHERE client = ''"
    )
    op.drop_table("old_mail_codes")
    op.drop_table("known_clients")
