"""Builds the package as it is published, and environments that it is installed into."""

import ast
import re
import shutil
import subprocess
import sys
import tarfile

from support.servers import ROOT


def build(folder):
    """Build the sdist, and the wheel from it; return their paths.

    The build backend calls are those of pip and build, without an environment for each.
    """
    needed = re.search(r"^requires = (.+)$", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[1]
    backend = folder / "backend"
    pip(sys.executable, "--target", backend, *ast.literal_eval(needed))
    # No instance folder, environment or result of an earlier build.
    left = shutil.ignore_patterns(".*", "instance", "build", "dist", "*.egg-info", "__pycache__")
    source = shutil.copytree(ROOT, folder / "source", ignore=left)
    sdist = call_backend(backend, source, "build_sdist", folder)
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    (unpacked,) = (folder / "unpacked").iterdir()
    return sdist, call_backend(backend, unpacked, "build_wheel", folder)


def call_backend(backend, source, what, target):
    """Call a hook of PEP 517; return the path of the file that it made."""
    script = f"from setuptools import build_meta; print(build_meta.{what}({str(target)!r}))"
    result = subprocess.run(
        [sys.executable, "-c", script],
        cwd=source,
        env={"PYTHONPATH": str(backend), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    return target / result.stdout.splitlines()[-1]


def environment(folder, *requirements):
    """Make a Python environment with the pinned versions; return its interpreter."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    pip(python, "--constraint", ROOT / "constraints.txt", *requirements)
    return python


def pip(python, *arguments):
    """Install with the pip of the tests."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    if python != sys.executable:
        command += ["--python", python]
    result = subprocess.run(
        [*command, "install", "--quiet", *arguments], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
