"""Codes, addresses and languages as people and their devices write them."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.helpers import PASSWORD, code_of, login
from werkzeug.datastructures import LanguageAccept
from werkzeug.http import parse_accept_header

from gateway.auth import schemas
from gateway.mail.languages import look_up

LORY = {"user_name": "lory", "email": "lory@126.com", "password": PASSWORD}
ZEROS = [chr(n) for n in range(0x110000) if unicodedata.decimal(chr(n), None) == 0]
INVISIBLE = ["\u200b", "\ufeff", "\u2060", "\u200e", "\u00ad", "\u202a"]
SPACES = [" ", "\u00a0", "\u3000", "\u2009"]


@pytest.fixture
def database_uri(sqlite_uri):
    """One kind of database is enough, because the database sees the same text each time."""
    return sqlite_uri


def register(api, reg_code):
    return code_of(api("/register", {**LORY, "reg_code": reg_code}))


def in_digits(code, zero):
    return "".join(chr(ord(zero) + int(digit)) for digit in code)


@pytest.fixture
def code(client, get_code):
    return get_code(client, LORY["user_name"], LORY["email"])


@pytest.mark.parametrize(
    "write",
    [
        lambda code: in_digits(code, "０"),
        lambda code: in_digits(code, "٠"),
        lambda code: in_digits(code, "۰"),
        lambda code: in_digits(code, "०"),
        lambda code: f"{code[:5]} {code[5:]}",
        lambda code: f" {code[:3]}-{code[3:]}\u3000",
        "\u200b".join,
        lambda code: f"\ufeff{code}\u200e",
        lambda code: f"code: {code}.",
    ],
)
def test_code_is_taken_as_keyboards_write_it(api, code, write):
    assert register(api, write(code)) == 0


@given(digits=st.text("0123456789", min_size=1, max_size=10), zero=st.sampled_from(ZEROS))
def test_digits_of_every_script_are_digits(digits, zero):
    assert schemas.RegCode().deserialize(in_digits(digits, zero)) == digits


@given(text=st.text(max_size=64))
def test_what_is_left_of_any_text_is_digits(text):
    field = schemas.RegCode()
    if not any(unicodedata.category(c) in ("Cc", "Cs") for c in text):
        assert set(field.deserialize(text)) <= set("0123456789")


def test_long_code_is_refused_before_any_work(api):
    assert register(api, "1" * 65) == 1003
    assert register(api, "\u0300" * 8000) == 1003


@pytest.mark.parametrize("mark", [*INVISIBLE, *SPACES])
def test_what_is_invisible_around_an_address_is_dropped(api, relay, mark):
    def around(text):
        return f"{mark}{text}{mark} {mark}"

    body = {"user_name": "lory", "email": around("Lory@126.com")}
    assert code_of(api("/auth-code", body)) == 0
    assert relay.mails[-1]["To"] == "Lory@126.com"
    account = {**body, "password": PASSWORD, "reg_code": relay.code()}
    assert code_of(api("/register", account)) == 0
    assert login(api, around("lory@126.com")).json["data"]["user_name"] == "lory"


@pytest.mark.parametrize(
    "email", ["lo\u200bry@126.com", "lory@\ufeff126.com", "\u200b", "\u200b \u3000"]
)
def test_what_is_invisible_within_an_address_is_refused(api, email):
    assert code_of(api("/auth-code", {"user_name": "lory", "email": email})) == 1003


# Languages


CHINESE = """
    zh-CN,en;q=0.9  zh  ZH-cn  zh_CN  zh-Hans-CN  zh-Hant-TW,en;q=0.9  zh-x-private,en
    fr,zh;q=0.5,en;q=0.4  en;q=0.4,fr,zh;q=0.5  zh;q=0.5,en;q=0.5  *,zh;q=0.5  en;q=0  en;q=0,*
    -,;q=1,zh"""
ENGLISH = """
    en-US,zh;q=0.1  en-US,en;q=0.9,zh;q=0.1  en;q=0.5,zh;q=0.5  *  fr,*  zh;q=0  zh;q=0,zh-CN
    en;q=0,zh;q=0  fr  zhx,enm  zh;q=2,en;q=0.1"""


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        *((text, "zh") for text in CHINESE.split()),
        *((text, "en") for text in ["", *ENGLISH.split()]),
    ],
)
def test_language_is_looked_up(accepted, language):
    assert look_up(parse_accept_header(accepted, LanguageAccept), ("en", "zh")) == language


def test_third_language_is_found_by_its_longest_tag():
    languages = ("en", "zh", "zh-hant")
    assert look_up([("zh-Hant-TW", 1)], languages) == "zh-hant"
    assert look_up([("zh-TW", 1)], languages) == "zh"


@pytest.mark.parametrize(
    ("accepted", "word"), [("zh-CN,en;q=0.9", "验证码"), ("en-US,zh;q=0.1", "code")]
)
def test_mail_is_in_the_language_of_the_first_range(api, relay, accepted, word):
    body = {"user_name": "lory", "email": "lory@126.com"}
    api("/auth-code", body, headers={"Accept-Language": accepted})
    assert word in relay.mails[-1]["Subject"]
