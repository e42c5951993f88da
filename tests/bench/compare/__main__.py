"""Compare the service with libraries that count the requests of API keys: ``make compare``.

Each server has two workers, and gets keys with a quota of 200. Counted is how many of 800
requests that race for one of them pass. Then the quota is used up and the workers are started
anew; of 800 more requests, each that passes means that a count was lost. At last all servers run,
and in turn answer requests of a key that is far from its end; the figure is the CPU time of the
workers. Redis is not started anew, and its CPU time is not counted.
"""

import logging
import os
import platform
import sys
import time
from collections import Counter
from pathlib import Path
from statistics import median

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent.parent)]

from node import load  # noqa: E402 - in the folder above
from others import (  # noqa: E402 - beside this file
    BetterAuth,
    Keygate,
    KeygateOnRedis,
    MissingError,
    Ours,
    Plain,
    folder,
    settle,
)
from support import interrupts  # noqa: E402 - two folders above

QUOTA, RACING = 200, 800
RACES = 3
MUCH = 1_000_000  # a quota that lasts
CONNECTIONS = 32  # of a race
ROUNDS, REQUESTS = 5, 400  # of the CPU time
SERVERS = (Ours, BetterAuth, Keygate, KeygateOnRedis, Plain)


def tell(sentence):
    print(sentence, file=sys.stderr, flush=True)


def set_up():
    """Return the servers that can be had here, with their keys."""
    found = []
    for server in SERVERS:
        tell(f"Setting up {server.name}")
        try:
            found.append(server(*[QUOTA] * RACES, MUCH))
        except MissingError as missing:
            tell(f"  skipped: {missing}")
    return found


def passed(running, raw_request, times, connections):
    """Return how many of the requests pass, and how many get no answer but an error."""
    statuses = Counter()
    load(running.server.port, raw_request, times, connections, statuses)
    return statuses["2"], statuses["5"] + statuses["closed"]


def count(server):
    """Return how many requests pass in each race, and how many after a restart."""
    running = server.start()
    settle(running)
    races = [passed(running, key, RACING, CONNECTIONS) for key in server.requests[:RACES]]
    for key in server.requests[:RACES]:
        passed(running, key, 2 * QUOTA, 1)  # one by one, to use up what a race has left
    running.stop()
    running = server.start()
    settle(running)
    again = [passed(running, key, RACING, CONNECTIONS) for key in server.requests[:RACES]]
    running.stop()
    tell(f"  {server.name}: (passed, failed) {races}, after a restart {again}")
    return races, again


def cpu(servers):
    """Return the CPU seconds of a request of each server."""
    running = [server.start() for server in servers]
    figures = [[] for _ in servers]
    for one, server in zip(running, servers, strict=True):
        settle(one)
        load(one.server.port, server.requests[-1], 100)
    for _ in range(ROUNDS):
        for one, server, all_of_one in zip(running, servers, figures, strict=True):
            all_of_one.append(one.cpu(server.requests[-1], REQUESTS))
    for one in running:
        one.stop()
    return [median(all_of_one) for all_of_one in figures]


def span(counts):
    """Return counts as "200", or "311 to 340" when they differ, with failures if there are any."""
    least, most = min(good for good, _ in counts), max(good for good, _ in counts)
    failed = sum(bad for _, bad in counts)
    text = str(least) if least == most else f"{least} to {most}"
    return f"{text}; {failed} failed" if failed else text


def main():
    logging.disable()  # of this process; the servers write their own
    os.environ["GATEWAY_INSTANCE_PATH"] = str(folder("instance"))
    start = time.monotonic()
    servers = set_up()
    counted = []
    for number, server in enumerate(servers, 1):
        tell(f"Racing for {server.name} ({number} of {len(servers)})")
        counted.append(count(server))
    tell("Measuring the CPU time of all, in turn")
    seconds = cpu(servers)
    tell(f"Done after {time.monotonic() - start:.0f} s")
    print("| | pass of 800 | pass after a restart | CPU a request |")
    print("|---|---|---|---|")
    for server, (races, again), one in zip(servers, counted, seconds, strict=True):
        print(f"| {server.name} | {span(races)} | {span(again)} | {one * 1e6:,.0f} µs |")
    print(f"\nMeasured on {time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores,", end=" ")
    print(f"Python {platform.python_version()}.")


interrupts.install()
try:
    main()
except KeyboardInterrupt:
    sys.exit("interrupted; no table was made")
