"""What is wrong, if anything."""

from __future__ import annotations

import click

from gateway import doctor as checks
from gateway.cli.terms import as_json, command, print_json


@command("doctor")
@as_json
def doctor(as_json: bool) -> None:
    """Look at settings, database, schema, relay, clock and files; say what is wrong.

    Exits with 1 when there is a fault; a warning is none.
    """
    findings = checks.examine()
    if as_json:
        print_json([finding.__dict__ for finding in findings])
    else:
        for finding in findings:
            click.echo(f"{finding.state:7}  {finding.name:9}  {finding.what}")
            if finding.mend:
                click.echo(f"{'':7}  {'':9}  -> {finding.mend}")
    if any(finding.state == checks.FAULT for finding in findings):
        click.get_current_context().exit(1)
