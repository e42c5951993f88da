"""The command ``doctor``."""

from __future__ import annotations

import click

from gateway.ops import doctor as checks
from gateway.ops.cli.base import Command, as_json
from gateway.ops.cli.output import print_json
from gateway.ops.doctor.finding import FAULT


@click.command("doctor", cls=Command)
@as_json
def doctor(as_json: bool) -> None:
    """Say what is wrong with the installation, and how to fix it.

    It checks settings, database, schema, relay, clock and files.

    The exit code is 1 when there is a fault; a warning is not a fault.
    """
    findings = checks.examine()
    if as_json:
        print_json([finding.__dict__ for finding in findings])
    else:
        for finding in findings:
            click.echo(f"{finding.state:7}  {finding.name:9}  {finding.what}")
            if finding.fix:
                click.echo(f"{'':7}  {'':9}  -> {finding.fix}")
    if any(finding.state == FAULT for finding in findings):
        click.get_current_context().exit(1)
