"""What a command is: how it runs, how it fails, and what its help and Tab say."""

from __future__ import annotations

import io
import os
import sqlite3
import sys
from contextlib import nullcontext, suppress
from functools import partial
from typing import Any

import click
from click.shell_completion import CompletionItem
from flask import current_app
from flask.cli import ScriptInfo
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from gateway import log, mail, settings
from gateway.auth.models import User
from gateway.db import db, shared
from gateway.db.schema import schema_of
from gateway.errors import ApiError, ConfigError
from gateway.ops.cli import trail
from gateway.ops.cli.output import PAGE_SIZE
from gateway.project.models import Pool, Project
from gateway.settings import INT32_MAX

COMPLETIONS = 50  # at most

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
page_option = click.option(
    "--page",
    default=0,
    metavar="N",
    type=click.IntRange(0, INT32_MAX // PAGE_SIZE),
    help="Page, from 0.",
)
yes_option = click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
language_option = click.option(
    "--language",
    type=click.Choice(mail.LANGUAGES),
    default=mail.LANGUAGES[0],
    help="Language of the mail.",
)


def _complete(
    column: Any, ctx: click.Context, _argument: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return the names that a shell offers for Tab; none when the database does not answer."""
    info = ctx.ensure_object(ScriptInfo)
    with suppress(DBAPIError, ConfigError), info.load_app().app_context():
        begins = column.startswith(incomplete, autoescape=True)
        found = select(column).where(begins).order_by(column).limit(COMPLETIONS)
        return [CompletionItem(name) for name in db.session.scalars(found)]
    return []


who = click.argument("who", shell_complete=partial(_complete, User.user_name))
id_or_key = click.argument(
    "id_or_key", metavar="PROJECT", shell_complete=partial(_complete, Project.project_key)
)
pool_names = partial(_complete, Pool.pool_name)

# What the help shows in the place of an argument.
EXAMPLES = {
    "who": "lory",
    "user_name": "lory",
    "email": "lory@example.com",
    "address": "lory@example.com",
    "id_or_key": "12",
    "pool_name": "blue",
    "name": "blue",
    "requests": "1000",
    "projects": "5",
    "file": "--keep 14 /var/backups/gateway",
    "source": "sqlite:////var/lib/gateway/gateway.db",
    "revision": "0004",
}
# They look themselves whether the database agrees with the settings, or say or change it.
LOOK_THEMSELVES = {"copy-from", "db", "doctor", "secret-key", "set-timezone"}


class Command(click.Command):
    """A command that reports a failure in one line, without a traceback."""

    is_upgrade = False  # it may make a secret key, and leaves no line

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        example = [ctx.command_path]
        for each in self.params:
            if each.required and isinstance(each, click.Option):
                example.append(each.opts[0])
            if each.required or (isinstance(each, click.Argument) and not self.is_upgrade):
                example.append(EXAMPLES[each.name or ""])
        with formatter.section("Example"):
            formatter.write_text(" ".join(example))

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command.

        :raises click.ClickException: when the command, the relay or the database refuses or fails.
        """
        name = ctx.command_path.partition(" ")[2]
        with nullcontext() if self.is_upgrade else trail.line(name):
            return self._invoke(ctx)

    def _invoke(self, ctx: click.Context) -> Any:
        if sys.stdin is None:  # it is closed, so nobody answers
            sys.stdin = io.StringIO()
        try:
            ctx.with_resource(ctx.ensure_object(ScriptInfo).load_app().app_context())
            if not LOOK_THEMSELVES & {ctx.info_name, ctx.parent and ctx.parent.info_name}:
                _compare_settings()
            return super().invoke(ctx)
        except ConfigError as error:
            settings.stop(error)
        except ApiError as error:
            raise click.ClickException(error.text) from None
        except mail.MailError as error:
            raise click.ClickException(f"the mail was not sent: {error}; {error.cure}") from None
        except BrokenPipeError:  # the reader has seen enough, as with: gateway usage | head
            drop_output()
        except OSError as error:
            raise failure(error) from None
        except (DBAPIError, sqlite3.Error) as error:
            said = _schema_problem() or f"the database fails: {log.first_line(error)}"
            raise click.ClickException(said) from None


def _compare_settings() -> None:
    """Refuse when the database and its nodes have other settings."""
    with db.engine.connect() as connection:
        if reason := shared.conflict(shared.stored(connection), current_app.config):
            raise ConfigError(reason)


def _schema_problem() -> str:
    """Return that the database's schema is why a statement failed, or ""."""
    try:
        with db.engine.connect() as connection:
            schema = schema_of(connection)
    except DBAPIError:
        return ""
    return "" if schema.can_serve else f"the schema is {schema.words}; {schema.cure}"


def failure(error: OSError) -> click.ClickException:
    """Return how a command says that the system refused something."""
    if error.filename is None:  # such as a full disk behind the output
        drop_output()
    return click.ClickException(f"{error.filename or 'writing failed'}: {error.strerror or error}")


def drop_output() -> None:
    """Throw away what is left to print, because Python would try it again at its end."""
    with suppress(AttributeError, OSError):  # there may be no output at all
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Group(click.Group):
    """A group of such commands."""

    command_class = Command
