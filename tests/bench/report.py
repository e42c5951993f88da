"""What the bench tells: its progress with the time left, and the table."""

import os
import platform
import sys
import time
from pathlib import Path

# The lines of the table that an operator should care about, and why.
FOR_OPERATORS = {
    "gunicorn: verify": "each request of your API costs the left figure in parentheses, so one core"
    " passes at most 1,000,000 µs divided by it in a second.",
    "gunicorn: login": "a login costs the left figure, on purpose, because guessing passwords must"
    " be dear.",
    "growth: verify at 1,000,000 projects to 1,000": "near 1 means that more projects do not make"
    " your API slower.",
    "memory of a worker at 1,000,000 projects, after logins": "a machine needs the peak for each"
    " worker, and the share when nobody logs in.",
    "from start to first reply": "with a single node, requests wait for as long at a restart.",
    "one worker, gthread, 12 threads: verify of 64 projects": "one worker passes so many with the"
    " shipped settings.",
    "two workers to one: verify of 64 projects": "two workers pass so many times what one passes.",
}


class Progress:
    """Says which step begins and how long it and all others will take.

    A step that was done before, for another database, is expected to take as long as then. Other
    steps are expected to take their usual time, times the pace: how long the steps so far took,
    divided by their usual time.
    """

    def __init__(self, usual, databases, clock=time.monotonic):
        """Plan all steps for each database.

        :param usual: {step: seconds that it takes for one database}, in order.
        """
        self.usual = usual
        self.coming = [(database, step) for database in databases for step in usual]
        self.count = len(self.coming)
        self.clock = clock
        self.took = {}  # {step: the seconds that it took last}
        self.pace = 1
        self.expected = self.spent = 0  # seconds of the steps so far
        self.current = None

    def begin(self, step):
        """End the step before, and say that the next begins."""
        self.end()
        database, planned = self.coming.pop(0)
        assert planned == step, f"{step} begins where {planned} is planned"
        self.current, self.began = step, self.clock()
        number = self.count - len(self.coming)
        left = spoken(self.left())
        tell(f"[{number} of {self.count}, about {left} left] {database}, {step}")

    def end(self):
        """End the step that runs, if one does."""
        if self.current is None:
            return
        seconds = self.clock() - self.began
        self.took[self.current] = seconds
        self.spent += seconds
        self.expected += self.usual[self.current]
        self.pace = self.spent / self.expected
        self.current = None

    def left(self):
        """Return the seconds that the step which begins and those after it will take."""
        steps = [self.current, *(step for _, step in self.coming)]
        return sum(self.took.get(step, self.usual[step] * self.pace) for step in steps)


def tell(sentence):
    print(sentence, file=sys.stderr, flush=True)


def spoken(seconds):
    """Return seconds as "40 s" or "12 minutes"."""
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} minutes"


def machine():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def table(sqlite, postgres, rounds):
    """Return the table of both databases in Markdown, with what an operator should care about."""
    lines = [
        f"`make bench` on {os.cpu_count()} cores ({machine()}), Python {platform.python_version()},"
        f" medians of {rounds} rounds. Ratios are the service to its floor, and in parentheses the"
        " CPU of one request of both.",
        "",
        "| | SQLite | Postgres |",
        "|---|---|---|",
        *(f"| {row} | {figure} | {postgres[row]} |" for row, figure in sqlite.items()),
        "",
        *for_operators(sqlite),
    ]
    return "\n".join(lines) + "\n"


def for_operators(rows):
    """Return the lines of Markdown that say which of these rows an operator should care about."""
    return [
        "An operator should care about these lines; the others are for those who change the code:",
        "",
        *(f"- *{row}*: {why}" for row, why in FOR_OPERATORS.items() if row in rows),
    ]
