"""The catalogue of reply codes, and the one exception that carries them.

To add a code, add a line to ``Code`` and its number to "Replies and codes" in README.md.
Everything that ends a request early is one of these:

    Exception
    ├─ ApiError                  a code of the catalogue; the rules raise it
    ├─ werkzeug HTTPException    HTTP's own failures: the code is the HTTP status
    ├─ sqlalchemy DBAPIError     501 when the database fails, 500 when our statement is wrong
    └─ anything else             500; the traceback goes to the log

``web.reply`` writes the answer to each of them. A ``ConfigError`` stops the start instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum


class Code(Enum):
    """The outcome of a request: ``header.code``, the HTTP status, the public sentence.

    The HTTP status is 200 when the request was understood and the endpoint answered. Otherwise it
    is another one. ``retry_after`` is the number of seconds that a client should wait when
    nothing more exact is known.
    """

    OK = (0, 200, "OK")
    ACCESS_DENIED = (
        1000,
        200,
        "Access denied: this belongs to another user, the project is paused or has expired,"
        " registration is closed or by invitation, or the account is the last admin",
    )
    UNAUTHENTICATED = (
        1001,
        401,
        "Log in, and send the auth_token as Authorization: Bearer; what came is missing, malformed,"
        " expired or revoked",
    )
    WRONG_CREDENTIALS = (
        1002,
        200,
        "Wrong user name or password; a forgotten one is replaced by reset-code",
    )
    INVALID_PARAMETER = (1003, 400, "A parameter is invalid")
    MALFORMED_REQUEST = (1004, 400, "The body must be a JSON object with all required parameters")
    USER_NAME_EXISTS = (1005, 200, "User name already exists; choose another")
    NOT_FOUND = (1006, 200, "Record not found; check the id")
    WRONG_CODE = (
        1008,
        200,
        "The code is wrong, used, expired or out of tries; check it, or ask for a new one",
    )
    LIMIT_REACHED = (1009, 200, "A limit of this account is reached")
    BANNED = (1012, 200, "This account is banned; ask who runs this service")
    EMAIL_EXISTS = (1018, 200, "Email already exist")
    MAIL_NOT_SENT = (1029, 503, "The mail could not be sent; try again soon", 5)
    TOO_MANY_REQUESTS = (429, 429, "Too many requests; try again later", 60)
    DATABASE_UNAVAILABLE = (501, 503, "The database is unavailable; try again soon", 5)

    def __init__(self, number: int, status: int, text: str, retry_after: int | None = None) -> None:
        self.number = number
        self.status = status
        self.text = text
        self.retry_after = retry_after


HTTP_TEXTS = {
    400: "This is not a request that HTTP allows",
    404: "There is no such endpoint; /openapi.json describes those there are",
    405: "This endpoint does not answer this HTTP method; Allow names those it does",
    413: "The body is larger than 16 KiB",
    503: "The service cannot do this now; try again soon",
    500: "Something went wrong here; the request id in X-Request-ID finds it in the log",
}
"""Sentences for HTTP's own failures, where the code is the HTTP status."""


class ConfigError(Exception):
    """The service cannot start; the message is one line that names the setting and the cure."""


class ApiError(Exception):
    """End a request with a code of the catalogue.

    :param code: which failure.
    :param text: a more exact sentence than the catalogue's; the client sees it.
    :param status: the HTTP status, where it differs from the catalogue's.
    :param retry_after: seconds to wait, where known more exactly than the catalogue says.
    :param headers: more headers of the reply; they replace those of the code.
    """

    def __init__(
        self,
        code: Code,
        text: str | None = None,
        *,
        status: int | None = None,
        retry_after: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(text or code.text)
        self.code = code
        self.text = text or code.text
        self.status = status or code.status
        self.retry_after = retry_after or code.retry_after
        self.headers = headers or {}
