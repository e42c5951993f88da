"""Keep the requests of each day, and let a project be paused.

The trigger moves a day that is over from ``projects`` to ``project_days``, within the statement
that begins another day or deletes the project. It does not when only the name of the day changes,
as with another TIMEZONE: then neither count changes. It adds to a row that is there, because a
clock that was wrong may come back to a day. The row outlives its project, and expires when no time
zone shows the day among the last 400 any more. A later migration that builds ``projects`` anew
must create the trigger again.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

KEEP_DAY = """
INSERT INTO project_days (project_id, user_id, day, requests, expires_at)
VALUES (OLD.id, OLD.user_id, OLD.request_day, OLD.request_count, {expires_at})
ON CONFLICT (project_id, day) DO UPDATE SET requests = project_days.requests + excluded.requests
"""
SQLITE_EXPIRY = "strftime('%Y-%m-%d 00:00:00.000000', OLD.request_day, '+401 days')"
POSTGRES_EXPIRY = "(OLD.request_day + 401)::timestamp AT TIME ZONE 'UTC'"
IS_OVER = """OLD.request_day {differs} NEW.request_day AND OLD.request_count > 0
AND (OLD.request_count <> NEW.request_count OR OLD.request_total <> NEW.request_total)"""
ON_SQLITE = f"""
CREATE TRIGGER keep_day AFTER UPDATE OF request_day ON projects
WHEN {IS_OVER.format(differs="IS NOT")}
BEGIN {KEEP_DAY.format(expires_at=SQLITE_EXPIRY)}; END
"""
ON_POSTGRES = (
    f"""
CREATE FUNCTION keep_day() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN {KEEP_DAY.format(expires_at=POSTGRES_EXPIRY)}; RETURN NULL; END $$
""",
    f"""
CREATE TRIGGER keep_day AFTER UPDATE OF request_day ON projects FOR EACH ROW
WHEN ({IS_OVER.format(differs="IS DISTINCT FROM")}) EXECUTE FUNCTION keep_day()
""",
)


def upgrade() -> None:
    op.add_column("projects", sa.Column("active_until", sa.DateTime(timezone=True)))
    op.create_table(
        "project_days",
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("requests", sa.Integer(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["users.id"],
            name="fk_project_days_user_id",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("project_id", "day", name="pk_project_days"),
    )
    for column in ("user_id", "day", "expires_at"):
        op.create_index(f"ix_project_days_{column}", "project_days", [column])
    statements = ON_POSTGRES if op.get_bind().dialect.name == "postgresql" else (ON_SQLITE,)
    for statement in statements:
        op.execute(statement)


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP TRIGGER keep_day ON projects")
        op.execute("DROP FUNCTION keep_day()")
    else:
        op.execute("DROP TRIGGER keep_day")
    op.drop_table("project_days")
    op.drop_column("projects", "active_until")
