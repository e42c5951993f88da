"""The bench tells the time left, and what an operator should care about."""

import sys

import pytest
from support.servers import ROOT

BENCH = ROOT / "tests" / "bench"


@pytest.fixture
def report(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    import report  # noqa: PLC0415 - beside the bench

    yield report
    del sys.modules["report"]


class Clock:
    now = 0

    def __call__(self):
        return self.now


def test_the_time_left_follows_what_the_steps_took(report, capsys):
    clock = Clock()
    progress = report.Progress({"a": 10, "b": 30}, ["SQLite", "Postgres"], clock)

    def told(step, at):
        clock.now = at
        progress.begin(step)
        return capsys.readouterr().err.strip()

    assert told("a", 0) == "[1 of 4, about 80 s left] SQLite, a"
    # The first step took twice its usual time, and will on Postgres; the others are 30 * 2.
    assert told("b", 20) == "[2 of 4, about 2 minutes left] SQLite, b"
    # That one took 25 s, which now counts for itself: 20 + 25.
    assert told("a", 45) == "[3 of 4, about 45 s left] Postgres, a"
    assert told("b", 50) == "[4 of 4, about 25 s left] Postgres, b"


def test_a_step_out_of_turn_is_an_error(report):
    progress = report.Progress({"a": 10, "b": 30}, ["SQLite"])
    with pytest.raises(AssertionError, match="b begins where a is planned"):
        progress.begin("b")


def test_the_table_says_what_an_operator_should_care_about(report):
    text = (BENCH / "table.md").read_text()
    rows = [line.split(" | ")[0].removeprefix("| ") for line in text.splitlines()]
    assert [row for row in report.FOR_OPERATORS if row not in rows] == []
    assert text.endswith("\n".join(["", *report.for_operators(rows)]) + "\n")
