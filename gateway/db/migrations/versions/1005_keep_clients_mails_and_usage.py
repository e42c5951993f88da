"""Bind codes to who asks, owe mails, and keep the usage of each day.

The version before cannot serve this schema, because its codes have another key. It goes on
answering verify until its node is replaced.

The trigger moves a day that is over from ``projects`` to ``project_days``, within the statement
that begins another day or deletes the project, and removes the row of a day to which a clock that
was wrong comes back. It does not when only the name of the day changes, as with another TIMEZONE:
then neither count changes. So it adds to a row that is there. The row outlives its project, and
expires when no time zone shows the day among the last 400 any more. A later migration that builds
``projects`` anew must create the trigger again. ``kept_requests`` is explained in project.models.
"""

import sqlalchemy as sa
from alembic import op

revision = "1005"
down_revision = "0004"
branch_labels = None
depends_on = None

PROJECT_COLUMNS = (
    ("extra_count", sa.BigInteger()),
    ("month_count", sa.BigInteger()),
    ("month_max", sa.Integer()),
    ("per_minute", sa.Integer()),
    ("rate_moment", sa.BigInteger()),
)
KEEP_DAY = """
INSERT INTO project_days (project_id, user_id, day, requests, expires_at)
VALUES (OLD.id, OLD.user_id, OLD.request_day, OLD.request_count + OLD.extra_count, {expires_at})
ON CONFLICT (project_id, day) DO UPDATE SET requests = project_days.requests + excluded.requests;
DELETE FROM project_days WHERE project_id = NEW.id AND day = NEW.request_day;
"""
SQLITE_EXPIRY = "strftime('%Y-%m-%d 00:00:00.000000', OLD.request_day, '+401 days')"
POSTGRES_EXPIRY = "(OLD.request_day + 401)::timestamp AT TIME ZONE 'UTC'"
IS_OVER = """OLD.request_day {differs} NEW.request_day AND OLD.request_count > 0
AND (OLD.request_count <> NEW.request_count OR OLD.request_total <> NEW.request_total)"""
ON_SQLITE = f"""
CREATE TRIGGER keep_day AFTER UPDATE OF request_day ON projects
WHEN {IS_OVER.format(differs="IS NOT")}
BEGIN {KEEP_DAY.format(expires_at=SQLITE_EXPIRY)} END
"""
ON_POSTGRES = (
    f"""
CREATE FUNCTION keep_day() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN {KEEP_DAY.format(expires_at=POSTGRES_EXPIRY)} RETURN NULL; END $$
""",
    f"""
CREATE TRIGGER keep_day AFTER UPDATE OF request_day ON projects FOR EACH ROW
WHEN ({IS_OVER.format(differs="IS DISTINCT FROM")}) EXECUTE FUNCTION keep_day()
""",
    """
CREATE FUNCTION kept_requests(project integer, first_day date, last_day date) RETURNS bigint
LANGUAGE plpgsql VOLATILE AS $$ BEGIN
RETURN (SELECT coalesce(sum(requests), 0) FROM project_days
WHERE project_id = project AND day BETWEEN first_day AND last_day); END $$
""",
)


def lock() -> bool:
    """Take all locks in one statement; return whether this is Postgres."""
    on_postgres: bool = op.get_bind().dialect.name == "postgresql"
    if on_postgres:
        op.execute("SET LOCAL statement_timeout = '500ms'")  # for all tables together
        op.execute("LOCK TABLE users, mail_codes, throttle_counts, projects")
        op.execute("SET LOCAL statement_timeout = 0")
    return on_postgres


def upgrade() -> None:
    on_postgres = lock()
    op.add_column(
        "users", sa.Column("language", sa.String(length=8), nullable=False, server_default="en")
    )
    with op.batch_alter_table("mail_codes") as codes:
        codes.add_column(sa.Column("asker", sa.String(64), nullable=False, server_default=""))
        codes.add_column(sa.Column("other_tries", sa.Integer(), nullable=False, server_default="0"))
        codes.drop_constraint("pk_mail_codes", type_="primary")
        codes.create_primary_key("pk_mail_codes", ["purpose", "email_key", "asker"])
    op.add_column(
        "throttle_counts",
        sa.Column("name", sa.String(length=32), nullable=False, server_default=""),
    )
    op.add_column("throttle_counts", sa.Column("account", sa.Integer()))
    op.create_index("ix_throttle_counts_account", "throttle_counts", ["account"])
    op.create_table(
        "owed_mails",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("key", sa.String(length=254), nullable=False),
        sa.Column("asker", sa.String(length=64), nullable=False, server_default=""),
        sa.Column("language", sa.String(length=8), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.Column("promised_at", sa.DateTime(timezone=True)),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("cause", sa.String(length=255), nullable=False, server_default=""),
        sa.Column("next_try", sa.DateTime(timezone=True), nullable=False),
        sa.Column("claimed_until", sa.DateTime(timezone=True)),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_owed_mails"),
        sa.UniqueConstraint("kind", "key", "asker", name="uq_owed_mails_kind"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_owed_mails_next_try", "owed_mails", ["next_try"])
    op.create_index("ix_owed_mails_expires_at", "owed_mails", ["expires_at"])
    op.create_table(
        "stored_values",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_stored_values"),
    )
    for column in ("expires_at", "active_until"):
        op.add_column("projects", sa.Column(column, sa.DateTime(timezone=True)))
    is_deleted = sa.text("expires_at IS NOT NULL")  # few are, so the index is made at once
    op.create_index(
        "ix_projects_expires_at",
        "projects",
        ["expires_at"],
        postgresql_where=is_deleted,
        sqlite_where=is_deleted,
    )
    for name, kind in PROJECT_COLUMNS:
        op.add_column("projects", sa.Column(name, kind, nullable=False, server_default="0"))
    op.add_column(
        "projects", sa.Column("blocked", sa.Boolean(), nullable=False, server_default=sa.false())
    )
    op.add_column("users", sa.Column("projects_max", sa.Integer()))
    op.create_table(
        "project_days",
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("requests", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("project_id", "day", name="pk_project_days"),
    )
    for column in ("user_id", "day", "expires_at"):
        op.create_index(f"ix_project_days_{column}", "project_days", [column])
    for statement in ON_POSTGRES if on_postgres else (ON_SQLITE,):
        op.execute(statement)


def downgrade() -> None:
    on_postgres = lock()
    op.execute(f"DROP TRIGGER keep_day{' ON projects' if on_postgres else ''}")
    if on_postgres:
        op.execute("DROP FUNCTION keep_day()")
        op.execute("DROP FUNCTION kept_requests(integer, date, date)")
    for table in ("project_days", "stored_values", "owed_mails"):
        op.drop_table(table)
    for table, column in (("projects", "expires_at"), ("throttle_counts", "account")):
        op.drop_index(f"ix_{table}_{column}", table)
        op.drop_column(table, column)
    for name in ("active_until", "blocked", *(name for name, _ in PROJECT_COLUMNS)):
        op.drop_column("projects", name)
    op.drop_column("users", "projects_max")
    op.drop_column("throttle_counts", "name")
    op.execute("DELETE FROM mail_codes WHERE asker <> ''")
    with op.batch_alter_table("mail_codes") as codes:
        codes.drop_constraint("pk_mail_codes", type_="primary")
        codes.create_primary_key("pk_mail_codes", ["purpose", "email_key"])
        for column in ("asker", "other_tries"):
            codes.drop_column(column)
    op.drop_column("users", "language")
