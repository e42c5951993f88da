"""Private names of libraries are there, and setup.cfg allows no version that was not tried."""

import configparser
import inspect
import re

import gunicorn
import psycopg
import pytest
from gunicorn.workers.gthread import ThreadWorker
from support.servers import ROOT


def test_psycopg():
    assert issubclass(psycopg.errors._WaitTimeout, Exception)
    assert "timeout" in inspect.signature(psycopg.Connection.wait).parameters


def test_gunicorn():
    assert callable(ThreadWorker.get_thread_pool)
    assert "self.tpool = self.get_thread_pool()" in inspect.getsource(ThreadWorker)


@pytest.mark.parametrize("library", [gunicorn, psycopg])
def test_no_later_version_is_installed(library):
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    needs = setup["options"]["install_requires"] + setup["options.extras_require"]["postgres"]
    name = library.__name__
    (bound,) = re.findall(rf"^{name}(?:\[\w+\])?>=[\d.]+,<([\d.]+)$", needs, re.MULTILINE)
    parts = [int(part) for part in bound.split(".")]
    installed = [int(part) for part in library.__version__.split(".")[: len(parts)]]
    assert installed == [*parts[:-1], parts[-1] - 1]
