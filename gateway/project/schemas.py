"""The shape of requests and replies about projects."""

from __future__ import annotations

from marshmallow import validate
from marshmallow.fields import Boolean, Field, Integer, List, Nested, String

from gateway.project.limits import MAX_PER_MINUTE
from gateway.web.fields import (
    Flag,
    Int32,
    PageRequest,
    Reply,
    Request,
    Stripped,
    entries,
    output_field,
    says,
)

NAME = "我的ChatGPT项目"
KEY = "p4Sx9mcEIcDzZOjG"
SECRET = "wzZwy8jxsdjuHDk1kBgaMYWh7C8XJa5yUGPRRFGOQqwwY4gt"  # noqa: S105 - the reference's example
END_POINTS = ["https://api.hobbychain.org//rpc", "wss://api.hobbychain.org//ws"]

_ADMINS = "only an admin may send it"


class CreateRequest(Request):
    """POST /api/v1/project/create."""

    project_type = Int32(required=True, **says(1, "A category; what it means is up to you"))
    project_name = Stripped(1, 128, required=True, **says(NAME, "Need not be unique."))


class ListRequest(PageRequest):
    """POST /api/v1/project/list; ``user_id`` 0 is the caller."""

    user_id = Int32(load_default=0, **says(0, "Whose projects; 0 means your own"))


class DeleteRequest(Request):
    """POST /api/v1/project/delete."""

    # No project has the id 0, so whoever sends the example changes nothing.
    id = Int32(required=True, **says(0, "The id of a project, from project/list"))


class RotateRequest(DeleteRequest):
    """POST /api/v1/project/rotate; the old secret works for ``grace_hours`` more."""

    grace_hours = Int32(0, 168, load_default=0, **says(24, "Hours that the old secret still works"))


class EditRequest(DeleteRequest):
    """POST /api/v1/project/edit; a field that is not sent stays.

    ``active_until`` is in unix seconds; 0 is for ever, and a time that has come pauses the project.
    """

    project_name = Stripped(1, 128, **says(NAME, "A new name"))
    project_type = Int32(**says(1, "A new category"))
    active_until = Int32(**says(0, "When the project pauses, in unix seconds; 0 means never"))
    request_max = Int32(**says(30, f"What is allowed in a day; {_ADMINS}"))
    month_max = Int32(**says(0, f"What is allowed in a month; {_ADMINS}"))
    per_minute = Int32(0, MAX_PER_MINUTE, **says(0, f"What is allowed in a minute; {_ADMINS}"))
    blocked = Flag(**says(False, f"Pause it; {_ADMINS}"))


class UsageRequest(DeleteRequest):
    """POST /api/v1/project/usage."""

    days = Int32(1, 400, load_default=30, **says(30, "How many; the last is today"))


def _text_like(pattern: str, example: str, description: str) -> Field[str]:
    return output_field(String, example, description, validate=validate.Regexp(f"^{pattern}$"))


class KeyAndSecret(Reply):
    """The credentials of a project's requests."""

    project_key = _text_like("[A-Za-z0-9]{16}", KEY, "The API key")
    project_secret = _text_like("[A-Za-z0-9]{48}", SECRET, "The API secret")


class Project(Reply):
    """A project; ``project_secret`` is "" when the service has lost the key that opens it."""

    id = output_field(Integer, 2, "What edit, rotate, usage and delete want")
    project_name = output_field(String, NAME, "As given at create or edit")
    project_type = output_field(Integer, 1, "As given at create or edit")
    project_key = output_field(String, KEY, "The API key")
    project_secret = output_field(
        String, SECRET, 'The API secret; "" when the service has lost the key that opens it'
    )
    end_points = List(
        String(), required=True, **says(END_POINTS, "The URLs that take requests of this project")
    )
    deleted = output_field(Boolean, False, "Always false, because deleted projects are not listed")
    created_time = _text_like(
        "[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}",
        "2024-03-07 15:47:02",
        "In the time zone of the service",
    )
    request_total = output_field(Integer, 0, "Requests counted since create", format="int64")
    request_today = output_field(Integer, 0, "Requests counted today", format="int64")
    request_max = output_field(Integer, 30, "Requests allowed a day; 0 means no limit")
    pool_id = output_field(Integer, 0, "The pool of servers that serves it; 0 means none")
    pool_name = output_field(String, "", 'The name of that pool; "" means none')


class ProjectPage(Reply):
    """One page of projects."""

    list = entries(Project, "The projects, ordered by id")


class Day(Reply):
    """One day in the service's time zone."""

    day = output_field(String, "2024-03-07", "YYYY-MM-DD", format="date")
    requests = output_field(Integer, 12, "Requests counted on that day", format="int64")


class Usage(Reply):
    """The requests of a project by day, oldest first; the last day is today."""

    active_until = output_field(
        Integer, 0, "When the project pauses, in unix seconds; 0 means never"
    )
    last_used = output_field(String, "2024-03-07", 'The last day with a request; "" without one')
    month_max = output_field(Integer, 0, "What is allowed in a month; 0 means no limit")
    month_used = output_field(Integer, 12, "What was counted this month", format="int64")
    per_minute = output_field(Integer, 0, "What is allowed in a minute; 0 means no limit")
    old_secret_until = output_field(
        Integer, 0, "Until when the secret of before a rotation works; 0 means not any more"
    )
    list = entries(Day, "One entry for each day, oldest first")


class Standing(Reply):
    """What is left of one limit of a project."""

    limit = output_field(Integer, 30, "What is allowed; 0 means no limit")
    remaining = output_field(Integer, 29, "What is left of it now")
    reset = output_field(Integer, 3600, "Seconds until all of it is there again")


def _standing(description: str, **example: int) -> Nested:
    return Nested(Standing, required=True, **says(example, description))


class Quota(Reply):
    """What is left of the limits of a project."""

    day = _standing("The quota of the day", limit=30, remaining=29, reset=3600)
    month = _standing("The quota of the month", limit=0, remaining=0, reset=0)
    minute = _standing("The rate a minute", limit=60, remaining=9, reset=1)
