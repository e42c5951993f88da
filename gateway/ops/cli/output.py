"""How the commands print."""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from typing import Any

import click

from gateway.auth.fields import INVISIBLE

PAGE_SIZE = 50
WIDE = 1000  # rows
BLANK = "\u2800"  # a Braille pattern without dots


def visible(text: str) -> str:
    """Replace characters that are invisible, or turn the direction of what follows, by escapes.

    People choose the names of accounts and projects. No name must look like another one, or like
    another part of the table or the question that it stands in.
    """
    if text.isascii() and text.isprintable():  # most are, and a list may be long
        return text
    return "".join(map(_escaped, text))


def _escaped(character: str) -> str:
    is_seen = character.isprintable() or unicodedata.category(character) == "Zs"
    if is_seen and character != BLANK and not INVISIBLE.match(character):
        return character
    units = character.encode("utf-16-be", "surrogatepass")  # as JSON writes them
    return "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2))


@contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show how far a long command is, on one line of a terminal; say nothing in a pipe.

    The body gets a function to call with what is done and what there is to do.
    """
    if not sys.stderr.isatty():
        yield lambda _done, _total: None
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
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return len(text) + wide - sum(unicodedata.combining(c) > 0 for c in text)
