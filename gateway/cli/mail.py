"""The relay."""

from __future__ import annotations

import click
from flask import current_app

from gateway import mail
from gateway.auth import schemas
from gateway.cli.terms import Group
from gateway.envelope import read

group = Group("mail", help="Try the SMTP relay.")


@group.command("test")
@click.argument("address")
@click.option(
    "--language", type=click.Choice(mail.LANGUAGES), default=mail.LANGUAGES[0], help="Of the mail."
)
def test(address: str, language: str) -> None:
    """Send a test mail to an ADDRESS, as codes are sent."""
    mail.send("test", **read(schemas.Address, {"email": address}), language=language)
    if current_app.config["MAIL_SUPPRESS_SEND"]:
        click.echo("written to the log only, as MAIL_SUPPRESS_SEND is set")
    else:
        click.echo(f"{current_app.config['MAIL_SERVER']} took the mail; see whether it arrives")
