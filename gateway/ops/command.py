"""The console script ``gateway``. It loads the commands only when Ctrl-C can be answered."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command of the command line."""
    try:
        from gateway.ops import cli  # noqa: PLC0415 - see above

        cli.main()
    except KeyboardInterrupt:
        sys.exit("Aborted!")
