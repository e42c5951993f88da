"""Add pools as a table of their own, and the old secret of a rotation.

No command could set the pool columns that this replaces.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "pools",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("pool_name", sa.String(length=63), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_pools"),
        sa.UniqueConstraint("pool_name", name="uq_pools_pool_name"),
        sqlite_autoincrement=True,
    )
    op.drop_column("projects", "pool_id")
    op.drop_column("projects", "pool_name")
    # Alembic would add the constraint by itself, which SQLite cannot; both can do this.
    op.execute(
        "ALTER TABLE projects ADD COLUMN pool_id INTEGER"
        " CONSTRAINT fk_projects_pool_id REFERENCES pools (id)"
    )
    op.create_index("ix_projects_pool_id", "projects", ["pool_id"])
    op.add_column("projects", sa.Column("old_secret_hash", sa.String(length=64)))
    op.add_column("projects", sa.Column("old_secret_until", sa.DateTime(timezone=True)))


def downgrade() -> None:
    op.drop_index("ix_projects_pool_id", "projects")
    op.drop_column("projects", "pool_id")
    for name in ("old_secret_until", "old_secret_hash"):
        op.drop_column("projects", name)
    op.add_column(
        "projects", sa.Column("pool_id", sa.Integer(), nullable=False, server_default="0")
    )
    op.add_column(
        "projects",
        sa.Column("pool_name", sa.String(length=64), nullable=False, server_default=""),
    )
    op.drop_table("pools")
