"""The words of the description that belong to no single endpoint."""

from __future__ import annotations

from typing import Any

SUMMARY = "Accounts, and API keys with quotas"
TAGS = {
    "accounts": "Registration with a mailed code, login, passwords",
    "projects": "API keys with end points and quotas",
    "nginx": "Asked by nginx and by load balancers alone; no client needs these",
}
SECURITY: dict[str, dict[str, Any]] = {
    "token": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "`auth_token` of login; the header may also hold it without `Bearer`.",
    },
    "project_basic": {
        "type": "http",
        "scheme": "basic",
        "description": "`project_key` as user, `project_secret` as password.",
    },
    "project_bearer": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "KEY.SECRET",
        "description": "`project_key`, a dot, `project_secret`.",
    },
    "project_api_key": {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "`project_key`, a dot, `project_secret`.",
    },
}
# Of an allowed request, what verify tells nginx. Those of limits are absent where there is none.
VERIFY_HEADERS = [
    ("X-Gateway-Project", "integer", "The project's id"),
    ("X-Gateway-Key", "string", "Its project_key"),
    ("X-Gateway-Pool", "string", "Its pool_name"),
    ("RateLimit-Limit", "integer", "The quota of the day; absent where there is none"),
    ("RateLimit-Remaining", "integer", "What is left of it; absent likewise"),
    ("RateLimit-Reset", "integer", "Seconds until it resets; absent likewise"),
    ("RateLimit-Policy", "string", "Every limit: day, month, minute; absent without one"),
    ("RateLimit", "string", "What is left of each; absent likewise"),
]
PASSWORDS = {
    True: """A password is what a person types, or the MD5 digest of it in 32 hexadecimal digits, as
the clients of this API usually send; both log in to the same account.""",
    False: """A password is what a person types. This service takes no MD5 digests for it.""",
}
INTRODUCTION = """
To try it: *auth-code* mails a code, *register* makes an account with it, *login* gives an
`auth_token`; put that into **Authorize**.

{passwords}

Every reply is `{{"header": {{"code", "message", "total", "count"}}, "data": {{}}}}`. HTTP is 200
when the endpoint answered, and `code` says what; another status when the request never got that
far. A later version may add fields; ignore those that you do not know.

A body is a JSON object in UTF-8 of at most 16 KiB, whatever its Content-Type; an empty body counts
as `{{}}`. Unknown fields are ignored. Types are strict: `"2"`, `2.0` and `true` are not integers.
The service refuses control characters, broken Unicode, `NaN`, the same key twice, and nesting
deeper than 20 levels.

User names and e-mail addresses are unique without regard to upper and lower case. Times are unix
seconds, except `created_time`, which is `YYYY-MM-DD HH:MM:SS` in the service's time zone.

| code | HTTP | message |
|---|---|---|
{codes}
"""
