"""Compare the service with its floor, and write the table: ``make bench``.

Each figure is a ratio of two things that ran in turn, and the median of many rounds, because
machines are noisy. In-process figures are CPU time of this process, figures through gunicorn CPU
time of its worker. Growth is wall-clock time, because it includes the work of the database.

``tests/bench --quick`` takes two minutes with small counts, to see whether all of it works; it
only prints the table.
"""

import logging
import os
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import floods  # noqa: E402 - beside this file
import floor  # noqa: E402
import psycopg  # noqa: E402
from ask import PASSWORD, SECRET_KEY, check_same, make_app, page, requests, settings, verify  # noqa: E402
from flask import Flask, Response, request  # noqa: E402
from node import Node, load  # noqa: E402
from report import Progress, table, tell  # noqa: E402
from support import interrupts  # noqa: E402 - in the folder above
from support.servers import postgres  # noqa: E402
from support.sql_log import sql_log  # noqa: E402

from gateway import create_app, crypto  # noqa: E402
from gateway.db import db  # noqa: E402

TABLE = HERE / "table.md"
QUICK = "--quick" in sys.argv
SIZES = (1_000, 2_000, 3_000) if QUICK else (1_000, 100_000, 1_000_000)
ROUNDS = 3 if QUICK else 15
FEWER = 10 if QUICK else 1  # divides the number of requests
# Seconds of each step for one database, only to tell the time left.
USUAL = {
    "databases": 20,
    "in-process": 30,
    "growth": 25,
    "gunicorn": 120,
    "memory and start": 25,
    "kinds of workers": 240,
    "floods and purge": 90,
}
WORKERS = {
    "sync": ("-k", "sync"),
    **{
        f"gthread, {n} threads": ("--threads", str(n))
        for n in ((12,) if QUICK else (1, 2, 4, 8, 12))
    },
}


def compare(measure, ours, other, rounds=ROUNDS):
    """Measure two things in turn; return the median ratio, and the median of each."""
    pairs = []
    for turn in range(rounds):
        if turn % 2:
            pairs.append((measure(ours), measure(other)))
        else:
            pairs.append((measure(other), measure(ours))[::-1])
    return median(a / b for a, b in pairs), median(a for a, _ in pairs), median(b for _, b in pairs)


def cpu(asked, times):
    """Return a measure of an application: CPU seconds of one request."""

    def measure(app):
        start = time.process_time()
        for _ in range(times):
            asked.call(app)
        return (time.process_time() - start) / times

    return measure


def in_process(app, token, bare):
    """Return ``compare`` of each path with its floor, and of verify with routes of a bare Flask."""

    def floors_verify():
        status, headers, content = bare.verify(request.environ)
        return Response(content, status, headers)

    empty, around = Flask("empty"), Flask("around")
    empty.add_url_rule("/api/v1/project/verify", view_func=lambda: ("", 204))
    around.add_url_rule("/api/v1/project/verify", view_func=floors_verify)
    found = {}
    for name, asked in requests(token).items():
        check_same(name, asked.call(app), asked.call(bare))
        measure = cpu(asked, {"login": 4, "list(100)": 60}.get(name, 150) // FEWER or 1)
        measure(app), measure(bare)
        found[name] = compare(measure, app, bare)
        if name == "verify":
            found["verify to a route that only answers 204"] = compare(measure, app, empty)
            found["such a route to verify's floor"] = compare(measure, empty, bare)
            found["verify's floor as a Flask route to one that only answers 204"] = compare(
                measure, around, empty
            )
            found["verify to its floor as a Flask route"] = compare(measure, app, around)
    return found


def share_of_argon2(app, token):
    asked = requests(token)["login"]
    password_hash = crypto.hash_password(PASSWORD)

    def hash_only(_environ, start_response):
        start_response("200 OK", [])
        crypto.password_matches(PASSWORD, password_hash)
        return [b""]

    return compare(cpu(asked, 4), hash_only, app)[0]


def statements(app, token):
    """Return how many statements each path runs."""
    found = {}
    with app.app_context(), sql_log(db.engine) as read_log:
        for name, asked in requests(token).items():
            read_log()
            asked.call(app)
            found[name] = len(read_log())
    return found


def growth(made, name):
    """Return the time of a request at each size, divided by that at the first size."""
    number = 0

    def wall(size):
        nonlocal number
        app, token = made[size]
        asked = []
        for _ in range(200 // FEWER):
            number += 7919
            asked.append(
                verify(1 + number % size) if name == "verify" else page(token, 20, number % 50)
            )
        start = time.perf_counter()
        for one in asked:
            one.call(app)
        return time.perf_counter() - start

    for size in SIZES:
        wall(size)
    return {size: compare(wall, size, SIZES[0])[0] for size in SIZES[1:]}


def through_gunicorn(uri, token):
    """Return ``compare`` of the CPU time of a worker for each path with that of its floor."""
    ours, bare = Node("wsgi:app", uri), Node("floor:app()", uri)
    found = {}
    for name, asked in requests(token).items():
        times = {"login": 16, "list(100)": 240, "verify": 1600}.get(name, 640) // FEWER or 1
        load(ours.port, asked.raw_request, 80)
        load(bare.port, asked.raw_request, 80)
        found[name] = compare(
            lambda node, a=asked.raw_request, t=times: node.cpu(a, t), ours, bare, ROUNDS // 2
        )
    ours.stop()
    bare.stop()
    return found


def kinds_of_workers(uri, token):
    """Return requests per second of each kind of worker, and the gain of a second worker."""
    rates, scale = {}, {}
    for name, asked in (
        ("verify of 64 projects", [verify(number) for number in range(1, 65)]),
        ("list(20)", [page(token, 20)]),
    ):
        raw_requests, times = (
            [one.raw_request for one in asked],
            (960 if name == "list(20)" else 2880) // FEWER,
        )

        def rate(node, raw_requests=raw_requests, times=times):
            return load(node.port, raw_requests, times, 16)

        for kind, options in WORKERS.items():
            node = Node("wsgi:app", uri, 1, options)
            rate(node)
            rates[kind, name] = median(rate(node) for _ in range(5))
            node.stop()
        one, two = Node("wsgi:app", uri, 1), Node("wsgi:app", uri, 2)
        rate(one), rate(two)
        scale[name] = compare(rate, two, one, ROUNDS // 2)[0]
        one.stop()
        two.stop()
    return rates, scale


def at_size(uri, token):
    """Return memory before and after logins, and seconds from start to first reply."""
    node = Node("wsgi:app", uri, 2)
    memory = []
    for name, asked in requests(token).items():
        if name == "login":
            memory.append(node.memory())
        load(node.port, asked.raw_request, 320 // FEWER, 16)
    memory.append(node.memory())
    node.stop()
    starts = []
    for _ in range(5):
        node = Node("wsgi:app", uri, 2)
        starts.append(node.first_reply)
        node.stop()
    return memory, median(starts)


def measure(uris, progress):
    """Return all figures of one database, by the row of the table."""
    progress.begin("databases")
    made = {size: make_app(uris[size], size) for size in SIZES}
    app, token = made[SIZES[0]]
    uri = uris[SIZES[0]]
    rows = {}

    def note(row, figure):
        rows[row] = figure
        tell(f"{row}: {figure}")

    progress.begin("in-process")
    for name, (ratio, ours, bare) in in_process(app, token, floor.Floor(uri, SECRET_KEY)).items():
        note(f"in-process: {name}", f"{ratio:.2f} ({ours * 1e6:,.0f} / {bare * 1e6:,.0f} µs)")
    note("argon2id's share of login", f"{share_of_argon2(app, token):.0%}")
    for name, count in statements(app, token).items():
        note(f"statements: {name}", count)
    progress.begin("growth")
    for name in ("verify", "list(20)"):
        for size, ratio in growth(made, name).items():
            note(f"growth: {name} at {size:,} projects to {SIZES[0]:,}", f"{ratio:.2f}")
    for app, _ in made.values():
        with app.app_context():
            db.engine.dispose()
    progress.begin("gunicorn")
    for name, (ratio, ours, bare) in through_gunicorn(uri, token).items():
        note(f"gunicorn: {name}", f"{ratio:.2f} ({ours * 1e6:,.0f} / {bare * 1e6:,.0f} µs)")
    progress.begin("memory and start")
    memory, start = at_size(uris[SIZES[-1]], made[SIZES[-1]][1])
    for when, (size, share, peak) in zip(("before", "after"), memory, strict=True):
        note(
            f"memory of a worker at {SIZES[-1]:,} projects, {when} logins",
            f"{size:.0f} MiB, its share {share:.0f}, peak {peak:.0f}",
        )
    note("from start to first reply", f"{start:.2f} s")
    progress.begin("kinds of workers")
    rates, scale = kinds_of_workers(uri, token)
    for (kind, name), rate in rates.items():
        note(f"one worker, {kind}: {name}", f"{rate:,.0f}/s")
    for name, ratio in scale.items():
        note(f"two workers to one: {name}", f"{ratio:.2f}")
    progress.begin("floods and purge")
    for name, figure in floods.rows(uris["floods"], QUICK):
        note(name, figure)
    return rows


def main():
    create_app(settings("sqlite:////nowhere/at/all.db"))  # which makes the log's handler
    (handler,) = logging.getLogger("gateway").handlers
    with ExitStack() as stack:
        handler.setStream(stack.enter_context(Path(os.devnull).open("w")))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gateway-bench-")))
        os.environ["GATEWAY_INSTANCE_PATH"] = str(folder)
        server = stack.enter_context(postgres(in_memory=False))
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            for size in (*SIZES, "floods"):
                connection.execute(f"CREATE DATABASE size{size}")
        files = {size: f"sqlite:///{folder / str(size)}.db" for size in (*SIZES, "floods")}
        usual = {step: seconds / FEWER for step, seconds in USUAL.items()}
        progress = Progress(usual, ["SQLite", "Postgres"])
        sqlite = measure(files, progress)
        others = measure({size: server.get_uri(f"size{size}") for size in files}, progress)
    progress.end()
    made = table(sqlite, others, ROUNDS)
    print(made)
    if not QUICK:
        TABLE.write_text(made)


interrupts.install()
try:
    main()
except KeyboardInterrupt:
    sys.exit("interrupted; no table was written")
