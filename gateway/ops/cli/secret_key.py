"""Commands for the key from which all other keys are derived."""

from __future__ import annotations

import json

import click
from flask import current_app
from sqlalchemy import select

from gateway import crypto, log
from gateway.db import db, shared
from gateway.ops.cli.base import Group, yes_option
from gateway.project.models import Project
from gateway.settings import instance

group = Group("secret-key", help="Change SECRET_KEY, or say that it was lost.")


@group.command("rotate")
def rotate() -> None:
    """Put a new key before those in the file secret_key.

    The old one stays as a fallback. Then copy the file to every node, and restart them. Everybody
    logs in again, and open codes are void. If the key comes from a setting, this prints the new
    settings and changes nothing.
    """
    if instance.has_key_file(current_app):
        instance.rotate_key(current_app)
        log.logger.info("operator secret-key rotated")
        click.echo(f"{instance.key_file(current_app)}: new key; restart the service on every node")
        return
    old = [current_app.config["SECRET_KEY"], *current_app.config["SECRET_KEY_FALLBACKS"]]
    click.echo(f"SECRET_KEY = {json.dumps(instance.new_key())}")
    click.echo(f"SECRET_KEY_FALLBACKS = {json.dumps(old)}")


@group.command("accept")
@yes_option
def accept(yes: bool) -> None:
    """Take this node's SECRET_KEY in place of the database's.

    Only for a key that is really lost: sign-ins and open codes are void, and secrets of projects
    that no key opens stay unreadable until they are rotated. The keys of projects go on working.
    """
    with db.engine.connect() as connection:
        kept = shared.stored(connection).get("SECRET_KEY")
        ours = shared.value("SECRET_KEY", current_app.config)
        if kept == ours:
            click.echo("The database was used with this key; nothing was changed.")
            return
        query = select(Project.sealed_secret).where(Project.sealed_secret != "")
        batches = connection.scalars(query).partitions(1000)
        lost = sum(crypto.unseal(batch).count(None) for batch in batches)
        connection.rollback()
        if not yes:
            click.confirm(
                f"All sign-ins and open codes become void, and {lost} secrets of projects stay"
                " unreadable. Is the old key lost?",
                abort=True,
            )
        shared.store(connection, "SECRET_KEY", ours)
        connection.commit()
    log.logger.info("operator secret-key accepted unreadable=%d", lost)
    click.echo(f"The database keeps this key from now on; {lost} secrets are unreadable.")
