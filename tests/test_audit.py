"""What `make audit` makes of pip-audit's findings."""

import subprocess
import sys

import pytest
from servers import ROOT

FINE = '{"name": "flask", "version": "3.1.3", "vulns": []}'
BAD = '{"name": "evil", "version": "1.0", "vulns": [{"id": "CVE-1"}, {"id": "CVE-2"}]}'
UNKNOWN = '{"name": "werkzeug", "skip_reason": "not found"}'


@pytest.mark.parametrize(
    ("report", "status", "words"),
    [
        (f"[{FINE}, {UNKNOWN}]", 0, "audited 1 packages, 1 unknown to the index"),
        (f"[{FINE}, {BAD}]", 1, "evil 1.0: CVE-1, CVE-2\naudited 2 packages"),
        (f"[{UNKNOWN}]", 0, "audit skipped: no index of advisories can be reached"),
        (None, 0, "audit skipped: no index of advisories can be reached"),
    ],
)
def test_audit(report, status, words):
    given = f'{{"dependencies": {report}, "fixes": []}}' if report else ""
    command = [sys.executable, ROOT / ".ci" / "audit.py"]
    result = subprocess.run(command, input=given, text=True, capture_output=True, check=False)
    assert (result.returncode, result.stderr) == (status, "")
    assert result.stdout.startswith(words)
