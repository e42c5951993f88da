"""How the commands fail, and how they print."""

from __future__ import annotations

import io
import json
import os
import sqlite3
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import chain, islice
from typing import Any, NamedTuple

import click
from click.shell_completion import CompletionItem
from flask import current_app
from flask.cli import AppGroup, ScriptInfo, with_appcontext
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from gateway import log, settings
from gateway.auth.fields import INVISIBLE
from gateway.auth.models import User
from gateway.db import db, shared
from gateway.db.schema import schema_of
from gateway.errors import ApiError, ConfigError
from gateway.mail import MailError
from gateway.ops.cli import trail
from gateway.project.models import Pool, Project
from gateway.settings import INT32_MAX

PAGE_SIZE = 50
MAKES_KEY = "makes_key"  # in ScriptInfo.data: this command may make a secret key
WIDE = 1000  # rows
BLANK = "\u2800"  # a Braille pattern without dots

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
page_option = click.option(
    "--page",
    default=0,
    metavar="N",
    type=click.IntRange(0, INT32_MAX // PAGE_SIZE),
    help="Page, from 0.",
)
yes_option = click.option("--yes", is_flag=True, help="Do not ask for confirmation.")


class Placeholder(NamedTuple):
    """What the help calls an argument, an example of it, and the column that Tab completes from."""

    name: str
    example: str
    column: Any = None


PLACEHOLDERS = {
    "who": Placeholder("WHO", "lory", User.user_name),
    "user_name": Placeholder("NAME", "lory"),
    "email": Placeholder("EMAIL", "lory@example.com"),
    "address": Placeholder("ADDRESS", "lory@example.com"),
    "id_or_key": Placeholder("PROJECT", "12", Project.project_key),
    "pool_name": Placeholder("POOL", "blue", Pool.pool_name),
    "name": Placeholder("NAME", "blue", Pool.pool_name),
    "requests": Placeholder("REQUESTS", "1000"),
    "file": Placeholder("FILE", "--keep 14 /var/backups/gateway"),
    "source": Placeholder("URL", "sqlite:////var/lib/gateway/gateway.db"),
    "revision": Placeholder("REVISION", "0004"),
}
COMPLETIONS = 50  # at most
# They look themselves whether the database agrees with the settings, or say or change it.
LOOK_THEMSELVES = {"copy-from", "db", "doctor", "secret-key", "set-timezone"}


class Command(click.Command):
    """A command that reports a failure in one line, without a traceback."""

    is_upgrade = False

    def __init__(self, *args: Any, **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self._example = []
        for argument in self.params:
            if isinstance(argument, click.Argument) and argument.name in PLACEHOLDERS:
                name, example, column = PLACEHOLDERS[argument.name]
                in_usage = name if argument.required else f"[{name}]"
                argument.metavar = argument.metavar or in_usage
                if column is not None:
                    argument.shell_complete = partial(_complete, column)  # type: ignore[method-assign]
                self._example.append(example)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Example"):
            formatter.write_text(" ".join([ctx.command_path, *self._example]))

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command.

        :raises click.ClickException: when the command, the relay or the database refuses or fails.
        """
        if self.is_upgrade:
            ctx.ensure_object(ScriptInfo).data[MAKES_KEY] = True
            return self._invoke(ctx)
        with trail.line(ctx.command_path.partition(" ")[2]):
            return self._invoke(ctx)

    def _invoke(self, ctx: click.Context) -> Any:
        if sys.stdin is None:  # it is closed, so nobody answers
            sys.stdin = io.StringIO()
        try:
            if not LOOK_THEMSELVES & {ctx.info_name, ctx.parent and ctx.parent.info_name}:
                ctx.with_resource(ctx.ensure_object(ScriptInfo).load_app().app_context())
                _compare_settings()
            return super().invoke(ctx)
        except ApiError as error:
            raise click.ClickException(error.text) from None
        except MailError as error:
            raise click.ClickException(f"the mail was not sent: {error}; {error.cure}") from None
        except BrokenPipeError:  # the reader has seen enough, as with: gateway usage | head
            drop_output()
        except OSError as error:
            raise failure(error) from None
        except (DBAPIError, sqlite3.Error) as error:
            said = _schema_problem() or f"the database fails: {log.first_line(error)}"
            raise click.ClickException(said) from None


def _compare_settings() -> None:
    """End the process when the database and its nodes have other settings."""
    with db.engine.connect() as connection:
        if reason := shared.conflict(shared.stored(connection), current_app.config):
            settings.stop(ConfigError(reason))


def _complete(column: Any, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
    """Return the names that a shell offers for Tab; none when the database does not answer."""
    info = ctx.ensure_object(ScriptInfo)
    with suppress(DBAPIError, SystemExit), info.load_app().app_context():
        begins = column.startswith(incomplete, autoescape=True)
        found = db.session.scalars(select(column).where(begins).order_by(column).limit(COMPLETIONS))
        return [CompletionItem(name) for name in found]
    return []


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


class Group(AppGroup):
    """A group of such commands."""

    def command(  # type: ignore[override]
        self, name: str
    ) -> Callable[[Callable[..., None]], click.Command]:
        """Add a command, which runs in the application's context."""
        made: Callable[[Callable[..., None]], click.Command] = super().command(name, cls=Command)
        return made


def command(name: str) -> Callable[[Callable[..., None]], click.Command]:
    """Create a command that belongs to no group."""

    def decorate(function: Callable[..., None]) -> click.Command:
        return click.command(name, cls=Command)(with_appcontext(function))

    return decorate


def visible(text: str) -> str:
    """Replace characters that are invisible, or turn the direction of what follows, by escapes.

    People choose the names of accounts and projects. No name must look like another one, or like
    another part of the table or the question that it stands in.
    """
    return "".join(map(_escaped, text))


def _escaped(character: str) -> str:
    is_seen = character.isprintable() or unicodedata.category(character) == "Zs"
    if is_seen and character != BLANK and not INVISIBLE.match(character):
        return character
    units = character.encode("utf-16-be", "surrogatepass")  # as JSON writes them
    return "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2))


@contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None] | None]:
    """Show how far a long command is, on one line of a terminal; say nothing in a pipe.

    The body gets a function to call with what is done and what there is to do.
    """
    if not sys.stderr.isatty():
        yield None
        return
    shown = ""

    def report(done: int, total: int) -> None:
        nonlocal shown
        text = f"{what}: {done:,} of {total:,}" if total else f"{what}: {done:,}"
        if text != shown:
            shown = text
            click.echo(f"\r{text}\x1b[K", err=True, nl=False)

    try:
        yield report
    finally:
        click.echo("\r\x1b[K", err=True, nl=False)


def print_json(value: Any) -> None:
    """Print a value as JSON, for scripts."""
    lines = json.dumps(value, ensure_ascii=False, indent=2).split("\n")
    click.echo("\n".join(map(visible, lines)))


def print_page(rows: Sequence[Mapping[str, Any]], total: int, page: int, *, as_json: bool) -> None:
    if as_json:
        print_json({"total": total, "list": rows})
        return
    print_table(rows)
    if total > len(rows):
        click.echo(f"page {page} of 0 to {-(-total // PAGE_SIZE) - 1}; {total} in all")


def print_list(rows: Iterator[Mapping[str, Any]]) -> None:
    """Print rows as JSON while they come, so that a long list takes no memory."""
    opening = "["
    for row in rows:
        click.echo(opening)
        item = json.dumps(row, ensure_ascii=False, indent=2).replace("\n", "\n  ")
        click.echo("\n".join(map(visible, f"  {item}".split("\n"))), nl=False)
        opening = ","
    click.echo("\n]" if opening == "," else "[]")


def print_table(rows: Iterable[Mapping[str, Any]]) -> None:
    """Print a table; the names of the first row's fields are the headings.

    Rows are printed while they come. The first WIDE of them say how wide a column is.
    """
    rows = iter(rows)
    first = list(islice(rows, WIDE))
    if not first:
        click.echo("none")
        return
    lines = [[name.upper().replace("_", " ") for name in first[0]]]
    lines += [[_cell(value) for value in row.values()] for row in first]
    widths = [max(map(_width, column)) for column in zip(*lines, strict=True)]
    for line in chain(lines, ([_cell(value) for value in row.values()] for row in rows)):
        cells = [
            cell + " " * (width - _width(cell)) for cell, width in zip(line, widths, strict=True)
        ]
        click.echo("  ".join(cells).rstrip())


def print_one(fields: Mapping[str, Any], *, as_json: bool) -> None:
    """Print the fields of one object, one in each line."""
    if as_json:
        print_json(fields)
        return
    width = max(map(len, fields))
    for name, value in fields.items():
        click.echo(f"{name:{width}}  {_cell(value)}")


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return visible(", ".join(value))
    return "-" if value in (None, "") else visible(str(value))


def _width(text: str) -> int:
    """Return the width of a text in a terminal; a Chinese character takes two columns."""
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return len(text) + wide - sum(unicodedata.combining(c) > 0 for c in text)
