"""Processes killed between the answer and the mail: every promised mail arrives."""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from http.client import HTTPException

from support.helpers import PASSWORD, add_people

PEOPLE = 4  # who ask in each round


def ask(service, email):
    """Ask for a code; tell whether the answer was code 0."""
    try:
        return email, service.post("/reset-code", {"email": email})[1] == 0
    except (OSError, HTTPException, ValueError):  # killed before the whole answer
        return email, False


def test_kill_the_server_between_answer_and_mail(start_service, relay, sql, scale, tally, request):
    service = start_service(workers=2)
    rounds = scale(3, 100)
    promised = []
    for number in range(rounds):
        people = add_people(sql, [f"user{number}x{n}" for n in range(PEOPLE)])
        relay.pause = random.choice([0, 0.05, 0.3])
        with ThreadPoolExecutor(PEOPLE) as pool:
            asked = [pool.submit(ask, service, email) for email in people]
            answers = as_completed(asked)
            for _ in range(random.randint(1, PEOPLE)):
                next(answers)
            if number % 2:  # let some conversations with the relay begin, and some end
                with relay.changed:
                    relay.changed.wait(timeout=0.3)
            service.server.kill()
            promised += [
                email for email, was_promised in (a.result() for a in asked) if was_promised
            ]
        relay.pause = 0
        service.start()
    with relay.changed:
        relay.changed.wait_for(lambda: set(promised) <= set(relay.codes), timeout=120)
    lost = sorted(set(promised) - set(relay.codes))
    kind = request.node.callspec.id
    tally("crashes", f"mails promised before kill -9 of the server, {kind}", len(promised), lost)
    end = time.monotonic() + 60
    while sql("SELECT 1 FROM owed_mails"):  # a mail that was under way at a kill is sent again
        assert time.monotonic() < end, "mails are still owed"
        with relay.changed:
            relay.changed.wait(timeout=1)
    for email in promised[-PEOPLE:]:
        body = {"email": email, "reg_code": relay.codes[email], "password": PASSWORD}
        assert service.post("/reset-password", body)[1] == 0
