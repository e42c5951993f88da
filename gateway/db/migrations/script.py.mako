"""${message}"""

import sqlalchemy as sa
from alembic import op
${imports if imports else ""}
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade() -> None:
    # First take the locks of all changed tables, as 1005 does. Rewrite no rows: a new column has a
    # constant default or none, and what must be rewritten is rewritten after the migration.
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
