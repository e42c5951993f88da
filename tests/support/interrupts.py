"""End a run cleanly at Ctrl-C, SIGTERM or SIGHUP: no server and no folder stays behind.

Servers have sessions of their own, so a terminal's Ctrl-C does not reach them. The signals raise
KeyboardInterrupt instead, and everything that is still registered here is cleaned up at the exit.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
from contextlib import contextmanager, suppress

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_groups = set()  # process groups that are running
_folders = set()  # temporary folders that exist
_holding = False
_pending = False


def install():
    """Raise KeyboardInterrupt at each of these signals."""
    for number in _SIGNALS:
        signal.signal(number, _interrupt)


def ignore():
    """Ignore these signals from now on, because a second one would break off the clean-up."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def held():
    """Hold an interrupt back until the block has ended, so that nothing is started half."""
    global _holding, _pending  # noqa: PLW0603
    _holding, before = True, _holding
    try:
        yield
    finally:
        _holding = before
    if _pending and not _holding:
        _pending = False
        raise KeyboardInterrupt


def _interrupt(_number, _frame):
    global _pending  # noqa: PLW0603
    if _holding:
        _pending = True
    else:
        raise KeyboardInterrupt


def add_group(group):
    """Kill a process group at the exit, unless ``remove_group`` is called before."""
    _groups.add(group)


def remove_group(group):
    _groups.discard(group)


def add_folder(folder):
    """Remove a folder at the exit, if it still exists."""
    _folders.add(folder)


def remove_folder(folder):
    """Remove a folder now."""
    shutil.rmtree(folder, ignore_errors=True)
    _folders.discard(folder)


@atexit.register
def clean_up():
    """Kill and remove everything that is still registered."""
    ignore()
    for group in _groups:
        with suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)
    for folder in _folders:
        shutil.rmtree(folder, ignore_errors=True)
