"""Count how often all tokens of an account were revoked, and which one was kept."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "users",
        sa.Column("token_generation", sa.Integer(), nullable=False, server_default="0"),
    )
    op.add_column("users", sa.Column("kept_jti", sa.String(length=36)))


def downgrade() -> None:
    for name in ("kept_jti", "token_generation"):
        op.drop_column("users", name)
