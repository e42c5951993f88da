"""Relays that refuse, hang, drip, lie or cannot be trusted; all of them real sockets."""

import socket
import ssl
import threading
import time
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gateway import mail

# The double cannot know that TLS is there from the first byte.
pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")

LORY = {"user_name": "lory", "email": "lory@126.com"}


@pytest.fixture
def database_uri(sqlite_uri):
    """One kind of database is enough here."""
    return sqlite_uri


@contextmanager
def server(talk):
    """Serve each connection with ``talk(connection, closing)`` on a port of its own."""
    closing = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=guarded, args=(connection,), daemon=True).start()

    def guarded(connection):
        with connection, suppress(OSError):
            talk(connection, closing)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    closing.set()
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(timeout=5)


def silent(connection, closing):
    closing.wait(30)


def dripping(connection, closing):
    connection.sendall(b"220 ")
    while not closing.wait(0.05):
        connection.sendall(b"x")


def dropping(connection, closing):
    pass


def garbage(connection, closing):
    connection.sendall(b"\xff\x00 what is SMTP?\r\n" * 10)
    closing.wait(30)


def converse(connection, closing, *, answer_to_data, at_quit):
    """Speak SMTP well enough to take one mail, then end as told."""
    lines = connection.makefile("rb")
    connection.sendall(b"220 relay\r\n")
    for line in lines:
        verb = line[:4].upper()
        if verb == b"DATA":
            connection.sendall(b"354 go\r\n")
            while next(lines) != b".\r\n":
                pass
            connection.sendall(answer_to_data)
        elif verb == b"QUIT":
            at_quit(connection, closing)
            return
        else:
            connection.sendall(b"250 OK\r\n")


def ask(client):
    """Ask for a code; return the header's code and how long it took."""
    start = time.monotonic()
    reply = client.post("/api/v1/auth-code", json=LORY)
    return reply.json["header"]["code"], time.monotonic() - start


def no_mail_thread_is_left():
    for thread in threading.enumerate():
        if thread.name == "mail":
            thread.join(timeout=5)
            if thread.is_alive():
                return False
    return True


@pytest.mark.parametrize("talk", [silent, dripping])
def test_a_relay_that_does_not_come_to_an_end(make_app, monkeypatch, talk):
    monkeypatch.setattr(mail, "DEADLINE", 0.5)
    with server(talk) as port:
        code, seconds = ask(make_app(MAIL_PORT=port).test_client())
        assert code == 1029
        assert seconds < 5
        assert no_mail_thread_is_left()  # the connection was broken off, not abandoned


def test_the_deadline_leaves_room_for_a_reply_in_ten_seconds():
    assert mail.DEADLINE < 10


@pytest.mark.parametrize("talk", [dropping, garbage])
def test_a_relay_that_speaks_no_smtp(make_app, talk):
    with server(talk) as port:
        assert ask(make_app(MAIL_PORT=port).test_client())[0] == 1029


def test_no_relay_at_all(make_app):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert ask(make_app(MAIL_PORT=port).test_client())[0] == 1029


@pytest.mark.parametrize("name", ["relay.invalid", "x" * 70 + ".invalid"])
def test_a_relay_whose_name_is_not_known(make_app, name):
    client = make_app(MAIL_SERVER=name).test_client()
    assert [ask(client)[0] for _ in range(2)] == [1029, 1029]  # no try is lost


@pytest.mark.parametrize(
    "at_quit",
    [
        lambda connection, closing: connection.close(),
        lambda connection, closing: connection.sendall(b"421 no\r\n"),
        lambda connection, closing: closing.wait(30),
    ],
    ids=["closes", "refuses", "hangs"],
)
def test_what_a_relay_does_at_quit_does_not_matter(make_app, at_quit):
    def talk(connection, closing):
        converse(connection, closing, answer_to_data=b"250 taken\r\n", at_quit=at_quit)

    with server(talk) as port:
        code, seconds = ask(make_app(MAIL_PORT=port).test_client())
        assert code == 0
        assert seconds < 5


def test_a_relays_words_do_not_reach_the_log(make_app, caplog):
    """A relay may repeat the mail, code included, in its refusal."""

    def talk(connection, closing):
        refusal = b"550 5.7.1 spam: Your registration code\r\n"
        converse(connection, closing, answer_to_data=refusal, at_quit=silent)

    with server(talk) as port:
        assert ask(make_app(MAIL_PORT=port).test_client())[0] == 1029
    assert "SMTPDataError 550 5.7.1" in caplog.text
    assert "registration code" not in caplog.text


def test_a_slow_relay_leaves_room_for_other_requests(make_app, monkeypatch):
    monkeypatch.setattr(mail, "_slots", threading.BoundedSemaphore(1))
    arrived = threading.Event()

    def talk(connection, closing):
        arrived.set()
        closing.wait(30)

    monkeypatch.setattr(mail, "DEADLINE", 3)
    with server(talk) as port:
        app = make_app(MAIL_PORT=port)
        first = threading.Thread(target=ask, args=(app.test_client(),))
        first.start()
        assert arrived.wait(5)
        other = {"user_name": "other", "email": "other@126.com"}
        start = time.monotonic()
        reply = app.test_client().post("/api/v1/auth-code", json=other)
        assert reply.json["header"]["code"] == 1029
        assert app.test_client().get("/readyz").status_code == 200
        assert time.monotonic() - start < 2
        first.join(timeout=10)


# TLS


class Keeper:
    """An SMTP handler that keeps what it is given."""

    def __init__(self):
        self.mails, self.logins = [], []

    async def handle_DATA(self, server, session, envelope):
        self.mails.append(envelope.content)
        return "250 OK"

    def authenticate(self, server, session, envelope, mechanism, login):
        self.logins.append((login.login, login.password))
        right = login.password == b"0123"
        return AuthResult(success=right, handled=right)


@pytest.fixture
def certificate(tmp_path):
    """A certificate for 127.0.0.1 that signs itself, in a file with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "relay")])
    now = datetime.now(timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "relay.pem"
    path.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


def greet(port, certificate):
    context = ssl.create_default_context(cafile=certificate)
    with (
        socket.create_connection(("127.0.0.1", port), timeout=5) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
    ):
        connection.recv(1024)


@pytest.fixture(params=["MAIL_USE_TLS", "MAIL_USE_SSL"])
def tls_relay(request, certificate):
    """A relay that speaks TLS and wants a password, and the settings to reach it."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    keeper = Keeper()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = {"authenticator": keeper.authenticate, "auth_required": True}
    if request.param == "MAIL_USE_TLS":
        options |= {"tls_context": context, "require_starttls": True}
    else:
        options |= {"ssl_context": context, "auth_require_tls": False}
    controller = Controller(keeper, hostname="127.0.0.1", port=port, **options)
    if request.param == "MAIL_USE_SSL":
        # The controller's own first call to itself cannot be made with a server's context.
        controller._trigger_server = lambda: greet(port, certificate)
    controller.start()
    keeper.settings = {
        "MAIL_PORT": port,
        request.param: True,
        "MAIL_USERNAME": "gateway",
        "MAIL_PASSWORD": "0123",
    }
    yield keeper
    controller.stop()


def test_a_trusted_relay_gets_mail_and_password(make_app, tls_relay, certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert ask(make_app(**tls_relay.settings).test_client())[0] == 0
    assert len(tls_relay.mails) == 1
    assert tls_relay.logins == [(b"gateway", b"0123")]


def test_an_untrusted_relay_gets_nothing(make_app, tls_relay, caplog):
    assert ask(make_app(**tls_relay.settings).test_client())[0] == 1029
    assert tls_relay.mails == tls_relay.logins == []
    assert "certificate" in caplog.text


def test_a_relay_of_another_name_gets_nothing(make_app, tls_relay, certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    app = make_app(**tls_relay.settings, MAIL_SERVER="localhost")
    assert ask(app.test_client())[0] == 1029
    assert tls_relay.mails == tls_relay.logins == []


def test_a_wrong_mail_password(make_app, tls_relay, certificate, monkeypatch, caplog):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    app = make_app(**{**tls_relay.settings, "MAIL_PASSWORD": "wrong-one"})
    assert ask(app.test_client())[0] == 1029
    assert "SMTPAuthenticationError 535 5.7.8" in caplog.text
    assert "wrong-one" not in caplog.text


def test_a_relay_without_tls_gets_no_password(make_app, outbox):
    app = make_app(MAIL_USE_TLS=True, MAIL_USERNAME="gateway", MAIL_PASSWORD="0123")
    assert ask(app.test_client())[0] == 1029
    assert outbox.mails == []
