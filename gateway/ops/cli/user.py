"""Commands for accounts."""

from __future__ import annotations

import sys
from typing import Any

import click

from gateway import log, mail
from gateway.auth import admin as accounts
from gateway.auth import schemas
from gateway.auth.models import User
from gateway.mail import outbox
from gateway.ops import export
from gateway.ops.cli.base import Group, as_json, language_option, page_option, who
from gateway.ops.cli.mail import TIME, state_of
from gateway.ops.cli.output import PAGE_SIZE, print_json, print_one, print_page, visible
from gateway.settings import INT32_MAX
from gateway.web.body import read

group = Group("user", help="Manage accounts by user name or e-mail address.")


from_stdin = click.option(
    "--password-stdin", is_flag=True, help="Read the password from standard input."
)

even_last_admin = click.option("--yes", is_flag=True, help="Do it even to the last admin.")


def _read_password(*, from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    return str(click.prompt("Password", hide_input=True, confirmation_prompt=True))


def _row(user: User) -> dict[str, Any]:
    return {**accounts.summary(user), "created": f"{user.created_at:{TIME}}"}


def _report(user: User, what: str) -> None:
    log.logger.info("operator user=%d %s", user.id, what)
    click.echo(f"{visible(user.user_name)} {what}")


@group.command("list")
@click.option("--admins", is_flag=True, help="Only admins.")
@click.option("--banned", is_flag=True, help="Only banned accounts.")
@page_option
@as_json
def list_users(admins: bool, banned: bool, page: int, as_json: bool) -> None:
    """Show accounts, 50 to a page; times are UTC."""
    users, total = accounts.search(admins=admins, banned=banned, page_no=page, size=PAGE_SIZE)
    print_page([_row(user) for user in users], total, page, as_json=as_json)


@group.command("show")
@who
@as_json
def show(who: str, as_json: bool) -> None:
    """Show one account, and what it is locked out of.

    Times are UTC.
    """
    user = accounts.find(who)
    locked = [f"{what} until {until:{TIME}}" for what, until in accounts.lockouts(user)]
    mails, _ = outbox.owed(outbox.belong_to(user.email_key, user.id), 0, PAGE_SIZE)
    owed = [
        f"{each.kind}: " + ", ".join(f"{name} {value}" for name, value in state_of(each).items())
        for each in mails
    ]
    more = {name: each for name, each in (("cannot", locked), ("owed_mails", owed)) if each}
    max_projects = "default" if user.projects_max is None else user.projects_max
    print_one({**_row(user), "projects_max": max_projects, **more}, as_json=as_json)


@group.command("create")
@click.argument("user_name", metavar="NAME")
@click.argument("email")
@click.option("--admin", is_flag=True, help="Make it an admin.")
@from_stdin
def create(user_name: str, email: str, admin: bool, password_stdin: bool) -> None:
    """Create an account without a mailed code. This asks for the password."""
    password = _read_password(from_stdin=password_stdin)
    given = {"user_name": user_name, "email": email, "password": password}
    user = accounts.create(**read(schemas.NewAccount, given), is_admin=admin)
    _report(user, "is created as an admin" if admin else "is created")


@group.command("set-password")
@who
@from_stdin
def set_password(who: str, password_stdin: bool) -> None:
    """Set a new password.

    This lifts every lock, and signs the account out everywhere.
    """
    accounts.find(who)  # before the password is asked for
    new = read(schemas.NewPassword, {"password": _read_password(from_stdin=password_stdin)})
    user = accounts.set_password(who, **new)
    _report(user, "has a new password and no valid token")


@group.command("invite")
@click.argument("address")
@language_option
def invite(address: str, language: str) -> None:
    """Mail a code that makes an account.

    It is valid for 7 days, once.
    """
    given = read(schemas.Address, {"email": address})
    accounts.invite(**given, language=language)
    log.logger.info("operator invited an address")
    click.echo(f"{given['email']}: invited")


@group.command("set-email")
@who
@click.argument("address")
@click.option(
    "--language",
    type=click.Choice(mail.LANGUAGES),
    help="Language of the mail.  [default: the account's]",
)
def set_email(who: str, address: str, language: str | None) -> None:
    """Move an account to another ADDRESS.

    The old one gets a mail that says so.
    """
    given = read(schemas.Address, {"email": address})
    user = accounts.set_email(who, **given, language=language)
    log.logger.info("operator user=%d email set", user.id)
    click.echo(f"{visible(user.user_name)}: email set to {user.email}")
    if not mail.is_possible():
        click.echo("the old address was not told: no MAIL_SERVER is set")


@group.command("delete")
@who
@click.option("--yes", is_flag=True, help="Do not ask, and do it even to the last admin.")
def delete(who: str, yes: bool) -> None:
    """Erase an account with its projects, for good.

    All that was counted goes, too.
    """
    user = accounts.find(who)
    if not yes:
        accounts.refuse_last_admin(user)
        what = f"{user.live_projects} projects" if user.live_projects != 1 else "1 project"
        click.confirm(f"Erase {visible(user.user_name)} with {what}, for good?", abort=True)
    _report(accounts.delete(who, even_last_admin=yes), "is erased")


@group.command("export")
@who
def export_person(who: str) -> None:
    """Print all that is stored about a person as JSON.

    Hashes and secrets are left out.
    """
    print_json(export.of_person(who))


@group.command("unlock")
@who
def unlock(who: str) -> None:
    """Lift every lock of an account.

    Wrong passwords or many mails have caused them.
    """
    _report(accounts.unlock(who), "is unlocked")


@group.command("logout")
@who
def logout(who: str) -> None:
    """Sign an account out everywhere."""
    _report(accounts.change(who, **accounts.REVOKED), "has no valid token")


@group.command("ban")
@who
@even_last_admin
def ban(who: str, yes: bool) -> None:
    """Shut an account out at once, with its projects.

    Its tokens are revoked for good.
    """
    _report(accounts.change(who, is_banned=True, even_last_admin=yes), "is banned")


@group.command("unban")
@who
def unban(who: str) -> None:
    """Lift the ban of an account."""
    _report(accounts.change(who, is_banned=False), "is not banned")


def _number_or_default(_ctx: click.Context, param: click.Parameter, value: str) -> int | None:
    allowed: Any = click.IntRange(0, INT32_MAX)
    return None if value == "default" else allowed.convert(value, param, None)


@group.command("allow")
@who
@click.option("--projects", metavar="N", required=True, callback=_number_or_default)
def allow(who: str, projects: int | None) -> None:
    """Set how many projects an account may have.

    N may also be "default", which is PROJECTS_PER_USER.
    """
    was = accounts.find(who).projects_max
    user = accounts.change(who, projects_max=projects)
    number, before = ("default" if n is None else n for n in (projects, was))
    _report(user, f"may have {number} projects, before {before}")


@group.command("promote")
@who
def promote(who: str) -> None:
    """Make an account an admin."""
    _report(accounts.change(who, is_admin=True), "is an admin")


@group.command("demote")
@who
@even_last_admin
def demote(who: str, yes: bool) -> None:
    """Make an admin an ordinary account."""
    _report(accounts.change(who, is_admin=False, even_last_admin=yes), "is no admin")
