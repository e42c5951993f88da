"""Add the mails that are owed, so that a promise outlives the process that gave it."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "owed_mails",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("key", sa.String(length=254), nullable=False),
        sa.Column("language", sa.String(length=8), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("next_try", sa.DateTime(timezone=True), nullable=False),
        sa.Column("claimed_until", sa.DateTime(timezone=True)),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_owed_mails"),
        sa.UniqueConstraint("kind", "key", name="uq_owed_mails_kind"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_owed_mails_next_try", "owed_mails", ["next_try"])
    op.create_index("ix_owed_mails_expires_at", "owed_mails", ["expires_at"])


def downgrade() -> None:
    op.drop_table("owed_mails")
