"""What guessing yields: of codes no more than the operator's guide states, and of names nothing."""

from __future__ import annotations

import math
import random
import re
import statistics
import string
import time
from collections import Counter
from itertools import product

import pytest
from support.helpers import PASSWORD, code_of, other_code, sqlite_only
from support.servers import ROOT

from gateway import crypto

CODES_A_DAY, TRIES = 5, 5
MORE = 2  # tries beyond those, which must yield nothing


@pytest.mark.parametrize("digits", [4, 6, 8])
def test_documented_chance_of_guessing_is_right(digits):
    guide = (ROOT / "gateway" / "deploy" / "README.md").read_text()
    row = rf"^\| {digits} digits \| ([\d.]+) % \| ([\d.]+) % \|"
    ((address, client),) = re.findall(row, guide, re.MULTILINE)
    of_a_client = 1 - (1 - TRIES / 10**digits) ** (100 * 24)
    # The asker has five tries of each code, and all others together have five.
    assert float(address) == pytest.approx(100 * 2 * CODES_A_DAY * TRIES / 10**digits, rel=0.01)
    assert float(client) == pytest.approx(100 * of_a_client, rel=0.01)


def test_all_codes_are_equally_likely():
    drawn, kinds = 200_000, 10_000
    seen = Counter(crypto.random_text(4, string.digits) for _ in range(drawn))
    expected = drawn / kinds
    chi2 = sum((seen[f"{n:04}"] - expected) ** 2 / expected for n in range(kinds))
    assert sum(seen[f"{n:04}"] for n in range(kinds)) == drawn
    assert abs(chi2 - (kinds - 1)) < 6 * math.sqrt(2 * (kinds - 1))


@pytest.fixture
def attack(make_app, clock):
    """Return a function that attacks an address for a day."""
    clock.freeze(2026, 11, 22, 12)
    client = make_app(REG_CODE_DIGITS=4, MAILS_PER_IP=10**6, MAILS_PER_HOUR=10**6).test_client()

    def run(number, guesses_of):
        """Return how many codes were mailed and whether one of the guesses made an account."""
        body = {"user_name": f"attacker{number}", "email": f"victim{number}@126.com"}
        codes = 0
        while True:
            reply = client.post("/api/v1/auth-code", json=body)
            if reply.status_code == 429:
                wait = int(reply.headers["Retry-After"])
                clock.advance(seconds=wait)
                if wait > 60:
                    return codes, False
                continue
            for guess in guesses_of(codes):
                account = {**body, "password": PASSWORD, "reg_code": guess}
                if code_of(client.post("/api/v1/register", json=account)) == 0:
                    return codes + 1, True
            codes += 1

    return run


@sqlite_only
def test_code_allows_five_tries_and_a_day_five_codes(attack, relay):
    for number, right in enumerate(product((0, CODES_A_DAY - 1), (0, TRIES - 1, TRIES, TRIES + 1))):

        def guesses_of(code, number=number, right=right):
            mailed = relay.codes[f"victim{number}@126.com"]
            wrong = other_code(mailed)
            return [mailed if (code, t) == right else wrong for t in range(TRIES + MORE)]

        lucky_code, lucky_try = right
        expected = (lucky_code + 1, True) if lucky_try < TRIES else (CODES_A_DAY, False)
        assert attack(number, guesses_of) == expected


@pytest.mark.real_argon2
def test_login_of_unknown_user_takes_as_long_as_of_known_user(make_app, sign_up, scale, tally):
    app = make_app(TRUSTED_PROXIES=1)
    for number in range(4):  # an account stands a hundred failures in a day
        sign_up(f"known{number}", client=app.test_client())
    client = app.test_client(use_cookies=False)
    times = {"known": [], "unknown": []}
    for number in range(scale(40, 200)):
        for kind, spent in times.items():
            body = {"user_name": f"{kind}{number % 4}", "password": "a wrong password"}
            headers = {"X-Forwarded-For": f"2001:db8:{number}::1"}
            start = time.process_time()  # other processes lengthen waits
            reply = client.post("/api/v1/login", json=body, headers=headers)
            spent.append(time.process_time() - start)
            assert code_of(reply) == 1002
    ratio = statistics.median(times["known"]) / statistics.median(times["unknown"])
    title = f"wrong logins; known / unknown user: {ratio:.2f} of the median CPU time"
    tally("guessing", title, 2 * len(times["known"]), [] if 1 / 1.5 < ratio < 1.5 else [title])


# Passwords, from many networks

A_DAY = 100  # wrong passwords for one name or address
LATER = 30  # guesses beyond those, which must yield nothing


@pytest.fixture
def guess_at(make_app, sign_up, clock):
    """Return a function that guesses at an account from many networks, by name or by address."""
    clock.freeze(2026, 11, 22, 12)
    app = make_app(TRUSTED_PROXIES=1)
    owner, strangers = app.test_client(), app.test_client(use_cookies=False)

    def send(client, who, password, ip):
        body = {"user_name": who, "password": password}
        headers = {"X-Forwarded-For": ip}
        return code_of(client.post("/api/v1/login", json=body, headers=headers))

    def run(name, lucky, who):
        """Return whether the guess with this number wins; the owner logs in from home meanwhile."""
        sign_up(name, client=owner)
        for number in range(A_DAY + LATER):
            password = PASSWORD if number == lucky else f"wrong password {number}"
            code = send(strangers, who, password, f"2001:db8:{number // TRIES:x}::1")
            assert code in ((0,) if code == 0 and number == lucky else (1002, 429))
            if code == 0:
                return True
            if number % 10 == 0:
                clock.advance(seconds=60)
                assert send(owner, name, PASSWORD, "192.0.2.1") == 0
        return False

    return run


@sqlite_only
@pytest.mark.parametrize("spelling", ["{}", "{}@126.com"])
def test_many_networks_guess_a_hundred_passwords_in_a_day(guess_at, scale, tally, spelling):
    edges = [0, A_DAY - 1, A_DAY, A_DAY + LATER - 1]
    lucky = scale(edges, edges + random.sample(range(A_DAY + LATER), 20))
    wrong = [
        (number, lucky_guess)
        for number, lucky_guess in enumerate(lucky)
        if guess_at(f"lory{number}", lucky_guess, spelling.format(f"lory{number}"))
        != (lucky_guess < A_DAY)
    ]
    title = f"days of guessing a password from many networks, as {spelling.format('name')}"
    tally("guessing", title, len(lucky), wrong)


def test_documented_chance_of_guessing_a_reset_code_is_right():
    """Five codes of strangers with ten tries each, and five of a device, of which others have five.

    So it is 75 tries of 8 digits.
    """
    guide = (ROOT / "gateway" / "deploy" / "README.md").read_text()
    assert f"at most 1 in {10**8 / 75 / 1e6:.1f} million a day" in guide
