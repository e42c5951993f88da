"""Every mail can pass any relay and is read as it was meant, whatever the names in it."""

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import strict_mail

from gateway import mail
from gateway.mail import Message
from gateway.settings import checks

CHINESE = "杭州云端数据服务平台"
TEMPLATES = Path(mail.__file__).parent / "templates"
LORY = {"user_name": "lory", "email": "lory@126.com"}
CONTENTS = {
    "register": {"code": "1234567890", "minutes": 10},
    "reset": {"code": "12345678", "minutes": 10},
    "email": {"code": "1234567890", "minutes": 10},
    "invite": {"code": "123456789012", "days": 7},
    "moved": {"user_name": "王小明" * 21},
    "quota": {
        "project_id": 1,
        "project_name": "我的ChatGPT项目" * 9,
        "day": "2024-03-07",
        "timezone": "Asia/Shanghai",
        "share": 100,
        "limit": 30,
        "used": 30,
    },
    "test": {},
}
printable = st.text(
    st.characters(codec="utf-8").filter(str.isprintable), min_size=1, max_size=64
).filter(lambda name: name.strip())
ascii_names = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=64)
names = st.one_of(
    printable,
    ascii_names.filter(lambda name: name.strip()),
    st.text('中文 a=?_"\\<>,.', min_size=1, max_size=64).filter(lambda name: name.strip()),
    st.integers(1, 64).map(lambda size: (CHINESE * 7)[:size]),
    st.integers(1, 64).map(lambda size: "x" * size),
    st.lists(st.sampled_from(["Пётр", "Example", "服务", "a", "é" * 20]), max_size=9).map(
        lambda words: " ".join(["a", *words])[:64].strip()
    ),
)


@pytest.fixture
def write(app):
    """Return a function that returns a mail as a strict reader sees it."""

    def write(template="register", language="zh", service="gateway", sender="a@localhost", **more):
        app.config.update(SERVICE_NAME=service, MAIL_DEFAULT_SENDER=sender, **more)
        with app.app_context():
            meant = mail.compose(template, "lory@126.com", language, **CONTENTS[template])
            return meant, strict_mail.read(meant.as_bytes())

    return write


@pytest.mark.parametrize("template", CONTENTS)
@pytest.mark.parametrize("language", mail.LANGUAGES)
@given(service=names)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_every_mail_is_read_as_it_was_meant(write, template, language, service):
    meant, seen = write(template, language, checks.service_name(service))
    assert seen.subject == meant.subject
    assert seen.text.rstrip("\n") == meant.text
    assert seen.html.rstrip("\n") == meant.html.rstrip("\n")
    assert seen.text.rstrip("\n").endswith(f"\n-- \n{checks.service_name(service)}")
    assert checks.service_name(service) in seen.subject
    assert seen.recipient == "lory@126.com"


@given(name=names, is_quoted=st.booleans())
@settings(max_examples=400, deadline=None)
def test_every_name_of_a_sender_is_read_as_it_was_meant(name, is_quoted):
    name = name.strip()
    if is_quoted or re.search(r'[<>",@]', name) or "=?" in name:
        typed = '"{}"'.format(re.sub(r'(["\\])', r"\\\1", name))
    else:
        typed = name
    sender = checks.sender(f"{typed} <no-reply@mail.example.com>")
    content = Message(sender, "lory@126.com", "subject", "text", "<p>html</p>").as_bytes()
    seen = strict_mail.read(content)
    assert (seen.sender_name, seen.sender) == (name, "no-reply@mail.example.com")


@pytest.mark.parametrize(
    ("sender", "name"),
    [
        ("no-reply@example.com", ""),
        ("<no-reply@example.com>", ""),
        ("示例服务 <no-reply@example.com>", "示例服务"),
        ("Пример Службы <no-reply@example.com>", "Пример Службы"),
        ('"Acme, Inc. \\"Mail\\"" <no-reply@example.com>', 'Acme, Inc. "Mail"'),
        ("Acme, Inc. <no-reply@example.com>", "Acme, Inc."),
        ("=?utf-8?b?56S65L6L?= <no-reply@example.com>", "示例"),
        ("=?utf-8?b?x?= <no-reply@example.com>", "=?utf-8?b?x?="),
    ],
)
def test_name_of_the_sender(write, sender, name):
    _, seen = write(sender=checks.sender(sender))
    assert (seen.sender_name, seen.sender) == (name, "no-reply@example.com")


@pytest.mark.parametrize(
    ("template", "view"),
    [
        *(("register", "register"), ("invite", "register"), ("reset", "forgot")),
        *(("email", "account"), ("moved", "projects"), ("quota", "projects"), ("test", "projects")),
    ],
)
@pytest.mark.parametrize("language", mail.LANGUAGES)
def test_mail_links_the_console(write, template, view, language):
    link = f"https://api.example.com/console/#{view}"
    _, seen = write(template, language, PUBLIC_URL="https://api.example.com/console")
    assert f"\n\n{link}\n\n-- \n" in seen.text
    assert f'<a href="{link}"' in seen.html
    for off in ({"PUBLIC_URL": ""}, {"PUBLIC_URL": "https://api.example.com", "PAGES": False}):
        _, seen = write(template, language, **off)
        assert "http" not in seen.text
        assert "href" not in seen.html


def test_no_mail_names_the_host_of_a_request(client, relay):
    forged = {"Host": "evil.example", "X-Forwarded-Host": "evil.example", "Origin": "http://evil"}
    assert client.post("/api/v1/auth-code", json=LORY, headers=forged).json["header"]["code"] == 0
    (sent,) = relay.mails
    assert "evil" not in sent.as_string()


def test_mail_is_sent_to_a_relay_without_8bitmime(make_app, faulty):
    sender = f"{CHINESE} <a@example.com>"
    app = make_app(MAIL_PORT=faulty.port, SERVICE_NAME=CHINESE, MAIL_DEFAULT_SENDER=sender)
    headers = {"Accept-Language": "zh"}
    reply = app.test_client().post("/api/v1/auth-code", json=LORY, headers=headers)
    assert reply.json["header"]["code"] == 0
    seen = strict_mail.read(*faulty.mails)
    assert seen.subject == f"{CHINESE}：您的注册验证码是 {faulty.accepted['lory@126.com'][0]}"
    assert seen.sender_name == CHINESE
    assert seen.headers["Message-ID"].endswith("@example.com>")


@pytest.mark.parametrize(
    ("language", "of_day", "of_month"),
    [("en", ("daily", " day"), ("monthly", " month")), ("zh", ("今日", "当日"), ("本月", "当月"))],
)
@pytest.mark.parametrize("share", [80, 100])
def test_mail_about_a_quota_names_its_period(write, monkeypatch, language, of_day, of_month, share):
    for day, said, other in (("2024-03-07", of_day, of_month), ("2024-03", of_month, of_day)):
        monkeypatch.setitem(CONTENTS, "quota", {**CONTENTS["quota"], "share": share, "day": day})
        _, seen = write("quota", language)
        assert said[0] in seen.subject
        for text in (seen.text, seen.html):
            assert said[1] in text
            assert other[1] not in text


def test_every_template_is_tried():
    folders = {path.name for path in TEMPLATES.iterdir() if path.is_dir()}
    assert folders == set(CONTENTS)


@pytest.mark.parametrize("template", ["register", "reset", "email", "invite"])
@pytest.mark.parametrize(
    ("language", "sentence"), [("en", "only the newest code works"), ("zh", "只有最新的{}有效")]
)
def test_mail_says_that_only_the_newest_code_works(write, template, language, sentence):
    _, seen = write(template, language)
    sentence = sentence.format("邀请码" if template == "invite" else "验证码")
    assert sentence in seen.text.replace("\n", " ")
    assert sentence in seen.html
