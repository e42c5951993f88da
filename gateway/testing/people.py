"""Accounts and projects of a test, made through HTTP as people make them."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any

import jwt
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

if TYPE_CHECKING:
    from typing_extensions import Self

PASSWORD = "seven green bottles"  # noqa: S105 - protects nothing


@dataclass
class Project:
    """A project and its credentials.

    ``credential`` is KEY.SECRET, ``headers`` are those of a request with it, and ``auth`` is what
    Flask's test client and other clients take for HTTP Basic.
    """

    client: FlaskClient
    id: int
    project_key: str
    project_secret: str = field(repr=False)

    @property
    def credential(self) -> str:
        """The key, a dot, the secret."""
        return f"{self.project_key}.{self.project_secret}"

    @property
    def headers(self) -> dict[str, str]:
        """The headers of a request of this project."""
        return {"X-API-Key": self.credential}

    @property
    def auth(self) -> tuple[str, str]:
        """The key and the secret."""
        return self.project_key, self.project_secret

    def verify(self, **query: str) -> TestResponse:
        """Ask, as nginx does, whether a request may pass; return the reply: 204, 401 or 403."""
        return self.client.get("/api/v1/project/verify", headers=self.headers, query_string=query)


@dataclass
class Account:
    """An account that is registered and signed in.

    ``headers`` authorise a request. ``token`` is the token of the last ``sign_in``.
    """

    client: FlaskClient
    user_name: str
    email: str
    password: str = field(repr=False)
    user_id: int = 0
    token: str = field(default="", repr=False)

    @classmethod
    def register(
        cls, client: FlaskClient, codes: Any, user_name: str, email: str, password: str = PASSWORD
    ) -> Self:
        """Register with a mailed code, and sign in.

        :param codes: the newest code of each address: the mailbox, or another mapping.
        :raises AssertionError: when the service refuses; the message says why.
        """
        ask(client, "auth-code", {"user_name": user_name, "email": email})
        body = {"user_name": user_name, "password": password, "email": email}
        ask(client, "register", {**body, "reg_code": codes[email]})
        account = cls(client, user_name, email, password)
        account.sign_in()
        return account

    def sign_in(self) -> None:
        """Get a new token, for instance with a new ``password`` or after the old one expired.

        :raises AssertionError: when the service refuses; the message says why.
        """
        body = {"user_name": self.user_name, "password": self.password}
        self.token = ask(self.client, "login", body)["auth_token"]
        claims = jwt.decode(self.token, options={"verify_signature": False})
        self.user_id = claims["claim_id"]

    @property
    def headers(self) -> dict[str, str]:
        """The headers of a request of this account."""
        return {"Authorization": f"Bearer {self.token}"}

    def ask(self, path: str, body: dict[str, Any]) -> Any:
        """Post to an endpoint, like ``project/list``; return the ``data`` of the answer.

        :raises AssertionError: when the service refuses; the message says why.
        """
        return ask(self.client, path, body, self.headers)

    def project(self, project_name: str = "a project", project_type: int = 1) -> Project:
        """Create a project.

        :raises AssertionError: when the service refuses; the message says why.
        """
        body = {"project_type": project_type, "project_name": project_name}
        made = self.ask("project/create", body)
        pages = (self.ask("project/list", {"page_no": n, "page_size": 100}) for n in count())
        projects = (listed for page in pages for listed in page["list"])
        ids = (p["id"] for p in projects if p["project_key"] == made["project_key"])
        return Project(self.client, next(ids), **made)


def ask(
    client: FlaskClient, path: str, body: dict[str, Any], headers: dict[str, str] | None = None
) -> Any:
    """Post to an endpoint; return the ``data`` of the answer.

    :raises AssertionError: when the service refuses; the message says why.
    """
    reply = client.post(f"/api/v1/{path}", json=body, headers=headers).get_json()
    header = reply["header"]
    if header["code"]:
        raise AssertionError(f"{path}: code {header['code']}: {header['message']}")
    return reply["data"]
