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


MOMENT = sa.DateTime(timezone=True)


def column(name: str, kind: sa.types.TypeEngine, default: str | None = None, **kw) -> sa.Column:
    return sa.Column(name, kind, nullable=False, server_default=default, **kw)


def new_columns() -> dict[str, list[sa.Column]]:
    """Return the columns that tables get; Postgres rewrites no row for a constant default."""
    return {
        "users": [column("language", sa.String(8), "en"), sa.Column("projects_max", sa.Integer())],
        "throttle_counts": [column("name", sa.String(32), ""), sa.Column("account", sa.Integer())],
        "projects": [
            sa.Column("expires_at", MOMENT),
            sa.Column("active_until", MOMENT),
            column("extra_count", sa.BigInteger(), "0"),
            column("month_count", sa.BigInteger(), "0"),
            column("month_max", sa.Integer(), "0"),
            column("per_minute", sa.Integer(), "0"),
            column("rate_moment", sa.BigInteger(), "0"),
            sa.Column("blocked", sa.Boolean(), nullable=False, server_default=sa.false()),
        ],
    }


def upgrade() -> None:
    on_postgres = lock()
    for table, columns in new_columns().items():
        for each in columns:
            op.add_column(table, each)
    with op.batch_alter_table("mail_codes") as codes:
        codes.add_column(column("asker", sa.String(64), ""))
        codes.add_column(column("other_tries", sa.Integer(), "0"))
        codes.drop_constraint("pk_mail_codes", type_="primary")
        codes.create_primary_key("pk_mail_codes", ["purpose", "email_key", "asker"])
    op.create_index("ix_throttle_counts_account", "throttle_counts", ["account"])
    is_deleted = sa.text("expires_at IS NOT NULL")  # few are, so the index is made at once
    where = {"postgresql_where": is_deleted, "sqlite_where": is_deleted}
    op.create_index("ix_projects_expires_at", "projects", ["expires_at"], **where)
    op.create_table(
        "owed_mails",
        sa.Column("id", sa.Integer(), primary_key=True),
        column("kind", sa.String(32)),
        column("key", sa.String(254)),
        column("asker", sa.String(64), ""),
        column("language", sa.String(8)),
        column("details", sa.JSON()),
        sa.Column("promised_at", MOMENT),
        column("tries", sa.Integer()),
        column("cause", sa.String(255), ""),
        column("next_try", MOMENT, index=True),
        sa.Column("claimed_until", MOMENT),
        column("expires_at", MOMENT, index=True),
        sa.UniqueConstraint("kind", "key", "asker", name="uq_owed_mails_kind"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "stored_values",
        sa.Column("name", sa.String(32), primary_key=True),
        column("value", sa.Text()),
    )
    op.create_table(
        "project_days",
        sa.Column("project_id", sa.Integer(), primary_key=True),
        column("user_id", sa.Integer(), index=True),
        sa.Column("day", sa.Date(), primary_key=True, index=True),
        column("requests", sa.BigInteger()),
        column("expires_at", MOMENT, index=True),
    )
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
    op.drop_index("ix_projects_expires_at", "projects")
    op.drop_index("ix_throttle_counts_account", "throttle_counts")
    op.execute("DELETE FROM mail_codes WHERE asker <> ''")
    with op.batch_alter_table("mail_codes") as codes:
        codes.drop_constraint("pk_mail_codes", type_="primary")
        codes.create_primary_key("pk_mail_codes", ["purpose", "email_key"])
        codes.drop_column("asker")
        codes.drop_column("other_tries")
    for table, columns in new_columns().items():
        for each in columns:
            op.drop_column(table, each.name)
