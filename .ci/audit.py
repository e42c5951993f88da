"""Read pip-audit's JSON from standard input; fail when a package has a known vulnerability.

Where no index of advisories can be reached, nothing can be known: that is said, and passes.
"""

import json
import sys

try:
    packages = json.load(sys.stdin)["dependencies"]
except ValueError:
    packages = []
audited = [package for package in packages if "vulns" in package]
if not audited:
    sys.exit(print("audit skipped: no index of advisories can be reached from here"))
vulnerable = [package for package in audited if package["vulns"]]
for package in vulnerable:
    ids = ", ".join(vuln["id"] for vuln in package["vulns"])
    print(f"{package['name']} {package['version']}: {ids}")
print(f"audited {len(audited)} packages, {len(packages) - len(audited)} unknown to the index")
sys.exit(bool(vulnerable))
