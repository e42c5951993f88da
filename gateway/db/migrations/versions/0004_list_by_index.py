"""Let the index of an account's live projects give a page of them in order."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_projects_live", "projects", ["user_id", "deleted", "id"])
    op.drop_index("ix_projects_user_id", "projects")


def downgrade() -> None:
    op.create_index("ix_projects_user_id", "projects", ["user_id"])
    op.drop_index("ix_projects_live", "projects")
