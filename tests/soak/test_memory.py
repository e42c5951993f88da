"""The memory of a worker under a day of mixed load."""

import threading
import time

import pytest
from helpers import PASSWORD
from ledger import Ledger, load

WARM_UP = 60  # seconds; by then every cache has its size
SECONDS = 3600
MOST = 80 * 2**20  # bytes of a worker after logins
GROWTH = 1.05


def resident(service):
    """Return the resident memory of the largest worker, in bytes, once no password is hashed."""
    return max(worker.memory_info().rss for worker in service.server.workers())


def test_a_password_gives_its_memory_back(start_service):
    """Each takes 19 MiB while it is hashed."""
    service = start_service(workers=1)
    service.sign_up("lory")
    for _ in range(3):
        code = service.post("/login", {"user_name": "lory", "password": PASSWORD})[1]
        assert code == 0
    assert resident(service) < MOST


def test_a_day_of_mixed_load_costs_no_memory(start_service, scale, tally, request):
    if not scale(0, 1):
        pytest.skip("runs under make soak only")
    service, ledger, up = start_service(workers=1), Ledger(), threading.Event()
    up.set()
    with load(service, ledger, up):
        time.sleep(WARM_UP)
    before = resident(service)
    with load(service, ledger, up):
        time.sleep(SECONDS)
    after = resident(service)
    kind = request.node.callspec.id
    lost = [f"{before / 2**20:.0f} MiB, then {after / 2**20:.0f}"]
    is_fine = after <= MOST and after <= before * GROWTH
    tally("memory", f"answers in an hour, {kind}", ledger.answers, [] if is_fine else lost)
    assert is_fine, lost
