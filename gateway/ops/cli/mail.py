"""Commands for the SMTP relay."""

from __future__ import annotations

import click
from flask import current_app

from gateway import mail
from gateway.auth import schemas
from gateway.ops.cli.output import Group
from gateway.web.body import read

group = Group("mail", help="Try the SMTP relay.")


@group.command("test")
@click.argument("address")
@click.option(
    "--language",
    type=click.Choice(mail.LANGUAGES),
    default=mail.LANGUAGES[0],
    help="Language of the mail.",
)
def test(address: str, language: str) -> None:
    """Send a test mail to an ADDRESS, the way codes are sent."""
    mail.send("test", **read(schemas.Address, {"email": address}), language=language)
    if current_app.config["MAIL_SUPPRESS_SEND"]:
        click.echo("written to the log only, because MAIL_SUPPRESS_SEND is set")
    else:
        click.echo(f"{current_app.config['MAIL_SERVER']} accepted the mail; check that it arrives")
