"""Run pip-audit, given as arguments, and fail when a package has a known vulnerability.

Where no index of advisories can be reached, nothing can be known: that is said, and passes. When
pip-audit itself fails in another way, so does this.
"""

import json
import re
import subprocess
import sys

UNREACHABLE = r"(Connection|Timeout|Proxy|SSL)Error|Failed to resolve|Max retries"

run = subprocess.run(sys.argv[1:], capture_output=True, text=True, check=False)  # noqa: S603
try:
    packages = json.loads(run.stdout)["dependencies"]
except ValueError:
    if not re.search(UNREACHABLE, run.stderr):
        sys.exit(f"{run.stderr}\naudit failed: pip-audit ended with {run.returncode}")
    packages = []
audited = [package for package in packages if "vulns" in package]
for package in audited:
    for vuln in package["vulns"]:
        print(f"{package['name']} {package['version']}: {vuln['id']}")
if audited:
    print(f"audited {len(audited)} packages, {len(packages) - len(audited)} unknown to the index")
else:
    print("audit skipped: no index of advisories can be reached from here")
sys.exit(any(package["vulns"] for package in audited))
