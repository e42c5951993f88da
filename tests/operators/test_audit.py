"""How `make audit` reports the findings of pip-audit."""

import subprocess
import sys

import pytest
from support.servers import ROOT

FINE = '{"name": "flask", "version": "3.1.3", "vulns": []}'
BAD = '{"name": "evil", "version": "1.0", "vulns": [{"id": "CVE-1"}, {"id": "CVE-2"}]}'
UNKNOWN = '{"name": "werkzeug", "skip_reason": "not found"}'
SKIPPED = "audit skipped: no index of advisories can be reached"


@pytest.mark.parametrize(
    ("stdout", "stderr", "status", "words"),
    [
        (f'{{"dependencies": [{FINE}, {UNKNOWN}]}}', "", 0, "audited 1 packages, 1 unknown"),
        (f'{{"dependencies": [{FINE}, {BAD}]}}', "", 1, "evil 1.0: CVE-1\nevil 1.0: CVE-2\naudit"),
        (f'{{"dependencies": [{UNKNOWN}]}}', "", 0, SKIPPED),
        ("", "ConnectionError: Max retries exceeded with url", 0, SKIPPED),
        ("", "error: unrecognized arguments: --locl", 1, ""),
        ('{"dependencies": [{"na', "", 1, ""),
    ],
)
def test_audit(stdout, stderr, status, words):
    speak = f"import sys; sys.stdout.write({stdout!r}); sys.stderr.write({stderr!r})"
    command = [sys.executable, ROOT / ".ci" / "audit.py", sys.executable, "-c", speak]
    result = subprocess.run(command, text=True, capture_output=True, check=False)
    assert result.returncode == status
    assert result.stdout.startswith(words)
    assert bool(result.stderr) == (not words)
