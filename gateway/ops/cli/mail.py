"""Commands for the SMTP relay."""

from __future__ import annotations

import click
from flask import current_app
from sqlalchemy import ColumnElement, true

from gateway import mail
from gateway.auth import schemas
from gateway.auth.models import email_key, find_user
from gateway.mail import outbox
from gateway.mail.models import OwedMail
from gateway.ops.cli.base import Group, as_json, language_option, page_option
from gateway.ops.cli.output import PAGE_SIZE, print_page
from gateway.web.body import read

TIME = "%Y-%m-%d %H:%M:%S"

group = Group("mail", help="Try the SMTP relay; show the mails that are owed.")


@group.command("list")
@click.option("--to", "who", metavar="WHO", help="Only those to this name or address.")
@page_option
@as_json
def list_owed(who: str | None, page: int, as_json: bool) -> None:
    """Show mails that are owed, and why the last try failed."""
    is_meant: ColumnElement[bool] = true()
    if who is not None:
        user = find_user(who)
        is_meant = outbox.belong_to(*((user.email_key, user.id) if user else (email_key(who), 0)))
    found, total = outbox.owed(is_meant, page, PAGE_SIZE)
    rows = [{"purpose": each.kind, "to": _recipient(each), **state_of(each)} for each in found]
    print_page(rows, total, page, as_json=as_json)


def _recipient(owed: OwedMail) -> str:
    account = f"user {owed.details.get('user_id')}"
    return owed.details.get("email") or (owed.key if "@" in owed.key else account)


def state_of(owed: OwedMail) -> dict[str, str | int]:
    """Return since when a mail is owed, how often it was tried, when next, and the last cause."""
    is_given_up = owed.next_try >= owed.expires_at
    return {
        "since": f"{owed.promised_at:{TIME}}" if owed.promised_at else "",
        "tries": owed.tries,
        "next_try": "never" if is_given_up else f"{owed.next_try:{TIME}}",
        "cause": owed.cause,
    }


@group.command("test")
@click.argument("address")
@language_option
def test(address: str, language: str) -> None:
    """Send a test mail to an ADDRESS, the way codes are sent."""
    mail.send("test", **read(schemas.Address, {"email": address}), language=language)
    if current_app.config["MAIL_SUPPRESS_SEND"]:
        click.echo("written to the log only, because MAIL_SUPPRESS_SEND is set")
    else:
        click.echo(f"{current_app.config['MAIL_SERVER']} accepted the mail; check that it arrives")
