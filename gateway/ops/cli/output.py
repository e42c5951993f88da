"""How the commands fail, and how they print."""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import click
from flask.cli import AppGroup, with_appcontext
from sqlalchemy.exc import DBAPIError

from gateway import log
from gateway.auth.fields import INVISIBLE
from gateway.errors import ApiError
from gateway.mail import MailError
from gateway.ops.cli import trail
from gateway.settings import INT32_MAX

PAGE_SIZE = 50
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


class Command(click.Command):
    """A command that reports a failure in one line, without a traceback."""

    leaves_trail = True

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command.

        :raises click.ClickException: when the command, the relay or the database refuses or fails.
        """
        if not self.leaves_trail:
            return self._invoke(ctx)
        with trail.line(ctx.command_path.partition(" ")[2]):
            return self._invoke(ctx)

    def _invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ApiError as error:
            raise click.ClickException(error.text) from None
        except MailError as error:
            raise click.ClickException(f"the mail was not sent: {error}; {error.cure}") from None
        except OSError as error:
            if error.filename is None:  # such as a closed pipe; click handles it
                raise
            raise click.ClickException(f"{error.filename}: {error.strerror}") from None
        except DBAPIError as error:
            raise click.ClickException(f"the database fails: {log.first_line(error)}") from None


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
    """Print one page of a list."""
    if as_json:
        print_json({"total": total, "list": rows})
        return
    print_table(rows)
    if total > len(rows):
        click.echo(f"page {page} of 0 to {-(-total // PAGE_SIZE) - 1}; {total} in all")


def print_table(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print a table; the names of the first row's fields are the headings."""
    if not rows:
        click.echo("none")
        return
    lines = [[name.upper().replace("_", " ") for name in rows[0]]]
    lines += [[_cell(value) for value in row.values()] for row in rows]
    widths = [max(map(_width, column)) for column in zip(*lines, strict=True)]
    for line in lines:
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
