"""Mailed codes: one set of rules for registrations, resets, new addresses and invitations."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest
from support.helpers import OTHER, PASSWORD, at, code_of, on_both, other_code

from gateway.testing.mailbox import wait_for_background

HOME, AWAY, THIRD = "10.0.0.1", "10.0.0.2", "10.0.0.3"
NEW = "new@126.com"
DIGITS = {"register": 10, "reset": 8, "email": 10, "invite": 12}  # the tests' REG_CODE_DIGITS is 10


@dataclass
class Flow:
    """A purpose of codes: how to ask for one, and how to use it. Nobody here has a cookie."""

    purpose: str
    client: Any
    relay: Any
    command: Any
    person: Any = None
    names: list = field(default_factory=lambda: [f"new{n}" for n in range(99)])

    def post(self, path, body, ip, **headers):
        if self.purpose == "email":
            headers |= self.person.headers
        reply = self.client.api(path, body, headers=headers, **at(ip))
        wait_for_background()
        return code_of(reply)

    @property
    def address(self):
        return "lory@126.com" if self.purpose == "reset" else NEW

    def ask(self, ip=HOME, language="en"):
        """Ask for a code; return it."""
        if self.purpose == "invite":
            words = ["user", "invite", self.address, "--language", language]
            assert self.command(*words).exit_code == 0
        else:
            path = {"register": "auth-code", "reset": "reset-code", "email": "platform/email-code"}
            body = {"email": self.address, "user_name": "new"}
            accepted = {"en": "fr", "zh": "zh-CN,en;q=0.9"}[language]
            headers = {"Accept-Language": accepted}
            assert self.post(f"/{path[self.purpose]}", body, ip, **headers) == 0
        return self.relay.codes[self.address]

    def use(self, code, ip=HOME, address=None, password=OTHER):
        """Use a code; return the code of the reply."""
        path = {"reset": "/reset-password", "email": "/platform/change-email"}
        body = {"email": address or self.address, "reg_code": code, "password": password}
        if self.purpose == "email":
            body["password"] = PASSWORD
        return self.post(
            path.get(self.purpose, "/register"), {**body, "user_name": self.names[0]}, ip
        )


@pytest.fixture
def flow(request, app, relay, command, sign_up):
    person = sign_up()
    return Flow(request.param, app.test_client(use_cookies=False), relay, command, person)


each = pytest.mark.parametrize("flow", DIGITS, indirect=True)
asked = pytest.mark.parametrize("flow", ["register", "reset", "email"], indirect=True)


@each
@on_both
def test_form(flow, sql):
    code = flow.ask()
    assert len(code) == DIGITS[flow.purpose]
    assert code.isdecimal()
    ((stored,),) = sql("SELECT code_hash FROM mail_codes")
    assert len(stored) == 64
    assert code not in str(sql("SELECT * FROM mail_codes"))


SUBJECTS = {
    "register": ["your registration code is {}", "您的注册验证码是 {}"],
    "reset": ["your code for a new password is {}", "您的密码重置验证码是 {}"],
    "email": ["your code for a new address is {}", "您的新邮箱验证码是 {}"],
    "invite": ["your invitation is {}", "您的邀请码是 {}"],
}


@each
@pytest.mark.parametrize("language", ["en", "zh"])
def test_text_of_the_mail(flow, relay, language):
    code = flow.ask(language=language)
    sent = relay.mails[-1]
    assert (sent["To"], sent["From"]) == (flow.address, "gateway@localhost")
    subject = SUBJECTS[flow.purpose][language == "zh"].format(code)
    assert sent["Subject"] == ("gateway：" if language == "zh" else "gateway: ") + subject
    number, units = (7, ["days", "天"]) if flow.purpose == "invite" else (10, ["minutes", "分钟"])
    for part in ("plain", "html"):
        content = sent.get_body((part,)).get_content()
        assert code in content
        assert f"{number} {units[language == 'zh']}" in content


@each
@on_both
def test_lifetime(flow, clock):
    code = flow.ask()
    lifetime = {"days": 7} if flow.purpose == "invite" else {"minutes": 10}
    for later, outcome in ((lifetime, 1008), ({"minutes": -1}, 0)):
        clock.advance(**later)
        flow.person.sign_in()
        assert flow.use(code) == outcome


@each
@on_both
def test_works_once_and_for_its_address(flow, sql, sign_up):
    code = flow.ask()
    elsewhere = sign_up("libin").email if flow.purpose == "reset" else "other@126.com"
    assert flow.use(code, address=elsewhere) == 1008
    assert flow.use(code, address=flow.address.upper()) == 0
    assert sql("SELECT * FROM mail_codes") == []
    del flow.names[0]
    assert flow.use(code) == {"reset": 1008}.get(flow.purpose, 1018)
    assert flow.use(code, address=elsewhere) == 1008


@asked
@on_both
@pytest.mark.parametrize("used", [HOME, AWAY])
def test_five_tries_of_the_asker_and_five_of_all_others(flow, used):
    """So a code that one of the two has killed works for the other."""
    code = flow.ask(HOME)
    others = [HOME] * 9 if used == AWAY else [AWAY, THIRD, AWAY, THIRD, "10.0.0.4", "10.0.0.5"]
    for ip in others:
        assert flow.use(other_code(code), ip) == 1008
    assert flow.use(code, others[-1]) == 1008
    for _ in range(4):
        assert flow.use(other_code(code), used) == 1008
    assert flow.use(code, used) == 0  # the fifth


@asked
@on_both
def test_guesses_at_once_have_no_more_tries(flow):
    code = flow.ask(HOME)
    guesses = [other_code(code)] * 19 + [code]
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(lambda guess: flow.use(guess, AWAY), guesses)) == {1008}


@each
def test_code_with_other_digits_costs_no_try(flow):
    code = flow.ask()
    for wrong in ("", code[1:], f"{code}0", f"{code[:-1]}o") * 4:
        assert flow.use(wrong) == 1008
    assert flow.use(" ".join(code)) == 0


@asked
@on_both
def test_nobody_replaces_or_kills_a_strangers_code(flow, clock):
    """Twelve guesses from changing networks killed a code, and whoever asked last replaced it."""
    own = flow.ask(HOME)
    clock.advance(minutes=1, seconds=1)
    foreign = flow.ask(AWAY)
    for number in range(12):
        assert flow.use(other_code(own), f"10.1.{number}.1") == 1008
    assert flow.use(foreign, THIRD) == 1008
    assert flow.use(own, HOME) == 0
    assert flow.use(foreign, AWAY) == {"reset": 1008}.get(flow.purpose, 1018)  # all codes ended


@each
@on_both
def test_new_code_of_the_same_asker_replaces_the_old_one(flow, clock):
    old = flow.ask()
    clock.advance(minutes=1, seconds=1)
    new = flow.ask()
    assert (flow.use(old), flow.use(new)) == (1008, 0)


@pytest.mark.parametrize("flow", ["register", "reset", "invite"], indirect=True)
def test_refused_password_leaves_the_code(flow):
    code = flow.ask()
    weak = ["short", "password", flow.address] + (["lory"] if flow.purpose == "reset" else [])
    for password in weak * 2:
        assert flow.use(code, password=password) == 1003
    assert flow.use(code) == 0


@pytest.mark.parametrize("flow", ["register", "invite"], indirect=True)
def test_taken_name_leaves_the_code(flow):
    code = flow.ask()
    flow.names.insert(0, "LORY")
    assert [flow.use(code) for _ in range(6)] == [1005] * 6
    del flow.names[0]
    assert flow.use(code) == 0


@each
@on_both
def test_used_twice_at_once(flow):
    code = flow.ask()
    with ThreadPoolExecutor(2) as pool:
        found = sorted(pool.map(lambda ip: flow.use(code, ip), [HOME, AWAY]))
    assert found[0] == 0
    assert found[1] in (1005, 1008, 1018)


@each
@pytest.mark.parametrize("other", DIGITS)
def test_code_is_for_its_purpose(flow, other, relay):
    """Each code is for the same address, but the reset's, which is for the account's."""
    code = flow.ask()
    use = Flow(other, flow.client, relay, flow.command, flow.person)
    is_same = {flow.purpose, other} in ({other}, {"register", "invite"})
    assert (use.use(code) == 0) == is_same
    if not is_same:
        assert flow.use(code) == 0


@pytest.mark.parametrize("flow", ["email"], indirect=True)
def test_new_address_is_for_one_account(flow, sign_up):
    code, owner = flow.ask(), flow.person
    flow.person = sign_up("libin")
    for _ in range(9):
        assert flow.use(code) == 1008  # and costs the owner no try
    flow.person = owner
    assert flow.use(code) == 0


@pytest.mark.parametrize("registration", ["open", "invited"])
@pytest.mark.parametrize("flow", ["invite"], indirect=True)
@on_both
def test_wrong_codes_of_invitations_count_for_the_network_only(flow, app, clock, registration):
    app.config["REGISTRATION"] = registration
    code = flow.ask()
    nobody = "nobody@126.com"
    for number in range(20):  # an invited address and others take the same way
        assert flow.use(other_code(code), HOME, nobody if number % 2 else NEW) == 1008
    assert flow.use(code, HOME) == flow.use(code, HOME, nobody) == 429
    assert flow.use(other_code(code), AWAY) == 1008
    clock.advance(hours=1, seconds=1)
    assert flow.use(code, HOME) == 0


@pytest.mark.parametrize("flow", ["invite"], indirect=True)
@on_both
def test_invitation_tells_strangers_nothing_about_accounts(flow, app, statements):
    """While registration is invited, the code comes before 1018 and 1005."""
    app.config["REGISTRATION"] = "invited"
    code = flow.ask()
    kinds = []
    for address, name in (("lory@126.com", "x"), ("x@126.com", "lory"), (NEW, "x"), ("y@a.b", "y")):
        flow.names.insert(0, name)
        statements()
        assert flow.use("1" * 12, AWAY, address) in (1008, 1003)
        kinds.append([str(statement).split()[0] for statement in statements()])
    assert kinds[0] == kinds[1] == kinds[2]
    flow.names.insert(0, "lory")
    assert flow.use(code) == 1005
    flow.names.insert(0, "free")
    assert flow.use(code) == 0


@pytest.mark.parametrize("flow", ["register", "reset"], indirect=True)
def test_nothing_is_hashed_before_the_code_is_right(flow, monkeypatch):
    """So neither strangers' guesses cost a hash, nor does the time tell whether a code is open."""
    flow.ask()
    monkeypatch.setattr("gateway.crypto.hash_password", None)
    for address in (flow.address, "nobody@126.com"):
        assert flow.use("0" * DIGITS[flow.purpose], address=address) == 1008
