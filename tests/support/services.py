"""Gunicorn with a database and a relay, and helpers for its clients."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field

from support.helpers import PASSWORD, SECRET_KEY
from support.servers import GUNICORN, ROOT, Server, free_port

MANY = 10**8  # mails; a test that is about their limits sets its own


@dataclass
class Service:
    """A running gunicorn; ``servers`` are those that were started, the present one last."""

    folder: object
    relay: object
    environment: dict
    command: list = field(default_factory=lambda: GUNICORN)
    port: int = field(default_factory=free_port)
    servers: list = field(default_factory=list)

    @property
    def server(self):
        return self.servers[-1]

    def start(self):
        self.servers.append(Server(self.command, self.folder, self.port, **self.environment))
        self.server.wait_for("Listening at")

    def post(self, path, body=None, token="", ip=""):
        return self.server.post(path, body or {}, token, ip)

    def code_for(self, user_name, email):
        assert self.post("/auth-code", {"user_name": user_name, "email": email})[1] == 0
        return self.relay.codes[email]

    def sign_up(self, user_name, email=None, password=PASSWORD):
        """Register a user; return the token of the first login."""
        email = email or f"{user_name}@126.com"
        account = {"user_name": user_name, "password": password, "email": email}
        code = self.code_for(user_name, email)
        assert self.post("/register", {**account, "reg_code": code})[1] == 0
        return self.log_in(user_name, password)

    def log_in(self, user_name, password=PASSWORD):
        body = {"user_name": user_name, "password": password}
        return self.post("/login", body)[2]["auth_token"]


@contextmanager
def services(database_uri, relay, folder):
    """Return a function that starts gunicorn with the settings of a test; at the end stop all."""
    started = []
    for name in ("wsgi.py", "gateway"):  # so the instance's folder is in the folder, too
        (folder / name).symlink_to(ROOT / name)

    def start(workers=2, command=GUNICORN, **settings):
        environment = {
            "WEB_CONCURRENCY": str(workers),
            "GATEWAY_SQLALCHEMY_DATABASE_URI": database_uri,
            "GATEWAY_SECRET_KEY": SECRET_KEY,
            "GATEWAY_MAIL_SERVER": "127.0.0.1",
            "GATEWAY_MAIL_PORT": str(relay.port),
            "GATEWAY_MAILS_PER_IP": str(MANY),
            "GATEWAY_MAILS_PER_HOUR": str(MANY),
            "GATEWAY_REG_CODE_DIGITS": "10",
            "GATEWAY_TRUSTED_PROXIES": "1",
            **{f"GATEWAY_{name}": str(value) for name, value in settings.items()},
        }
        service = Service(folder, relay, environment, command)
        started.append(service)
        service.start()
        return service

    def another(**settings):
        """Start a second node, which may end at once; return its server process."""
        (first,) = started
        changed = {f"GATEWAY_{name}": str(value) for name, value in settings.items()}
        environment = {**first.environment, **changed}
        return Server(first.command, folder, free_port(), **environment)

    start.another = another
    yield start
    servers = [server for service in started for server in service.servers]
    for server in servers:
        if server.process.poll() is None:
            server.kill()
    assert not [server.output for server in servers if "Traceback" in server.output]
