"""Ctrl-C and SIGTERM end soak and bench without leaving a process or a folder behind."""

import os
import pty
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from support.helpers import TIMEOUT
from support.servers import ROOT

pytestmark = pytest.mark.soak
SOAK = ["-m", "pytest", "--soak", "tests/soak/test_crashes.py", "-k", "kill_a_worker and postgres"]
# Makes the terminal on its standard input the controlling one, so that Ctrl-C sends a signal.
IN_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


class Run:
    """A command in a pseudo-terminal, with its own temporary folder."""

    def __init__(self, arguments):
        # Not below pytest's folder: under root, Postgres runs as another user without access.
        self.folder = Path(tempfile.mkdtemp(prefix="gateway-interrupts-"))
        self.folder.chmod(0o755)
        self.terminal, inside = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-c", IN_TERMINAL, sys.executable, *arguments],
            cwd=ROOT,
            env={**os.environ, "TMPDIR": str(self.folder)},
            stdin=inside,
            stdout=inside,
            stderr=inside,
            start_new_session=True,
        )
        os.close(inside)
        self.reader = threading.Thread(target=self.read)
        self.reader.start()

    def read(self):
        with suppress(OSError):  # the terminal closes with its last process
            while os.read(self.terminal, 65536):
                pass

    def processes(self):
        """Return the commands of this run that are alive."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get("TMPDIR") == str(self.folder):
                    found.append(" ".join(process.cmdline()))
        return found

    def wait_for_process(self, name):
        end = time.monotonic() + TIMEOUT
        while not any(name in command for command in self.processes()):
            assert time.monotonic() < end
            time.sleep(0.1)

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.reader.join(timeout=TIMEOUT)
        os.close(self.terminal)
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture
def start():
    runs = []

    def start(arguments):
        runs.append(Run(arguments))
        return runs[-1]

    yield start
    for run in runs:
        run.close()


@pytest.mark.parametrize("how", ["Ctrl-C", "SIGINT", "SIGTERM"])
@pytest.mark.parametrize(
    ("arguments", "server"), [(SOAK, "gunicorn"), (["tests/bench"], "postgres")]
)
def test_interrupt_leaves_nothing(start, arguments, server, how):
    run = start(arguments)
    run.wait_for_process(server)
    if how == "Ctrl-C":
        os.write(run.terminal, b"\x03")
    else:
        run.process.send_signal(signal.Signals[how])
    assert run.process.wait(timeout=TIMEOUT) != 0
    assert run.processes() == []
    assert [*run.folder.iterdir()] == []
