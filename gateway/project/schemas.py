"""The shape of requests and replies about projects."""

from __future__ import annotations

from marshmallow import validate
from marshmallow.fields import Boolean, Integer, List, Nested, String

from gateway.web.fields import Int32, Reply, Request, Stripped, output_field

NAME = "我的ChatGPT项目"
KEY = "p4Sx9mcEIcDzZOjG"
SECRET = "wzZwy8jxsdjuHDk1kBgaMYWh7C8XJa5yUGPRRFGOQqwwY4gt"  # noqa: S105 - the reference's example


class CreateRequest(Request):
    """POST /api/v1/project/create."""

    project_type = Int32(required=True, metadata={"example": 1})
    project_name = Stripped(1, 128, required=True, metadata={"example": NAME})


class ListRequest(Request):
    """POST /api/v1/project/list; ``user_id`` 0 is the caller."""

    user_id = Int32(load_default=0, metadata={"example": 2})
    page_no = Int32(load_default=0, metadata={"example": 0})
    page_size = Int32(1, 100, load_default=20, metadata={"example": 20})


class DeleteRequest(Request):
    """POST /api/v1/project/delete."""

    id = Int32(required=True, metadata={"example": 2})


class RotateRequest(Request):
    """POST /api/v1/project/rotate; the old secret works for ``grace_hours`` more."""

    id = Int32(required=True, metadata={"example": 2})
    grace_hours = Int32(0, 168, load_default=0, metadata={"example": 24})


class EditRequest(Request):
    """POST /api/v1/project/edit; a field that is not sent stays.

    ``active_until`` is in unix seconds; 0 is for ever, and a time that has come pauses the project.
    """

    id = Int32(required=True, metadata={"example": 2})
    project_name = Stripped(1, 128, metadata={"example": NAME})
    project_type = Int32(metadata={"example": 1})
    active_until = Int32(metadata={"example": 0})


class UsageRequest(Request):
    """POST /api/v1/project/usage."""

    id = Int32(required=True, metadata={"example": 2})
    days = Int32(1, 400, load_default=30, metadata={"example": 30})


class KeyAndSecret(Reply):
    """The credentials of a project's requests."""

    project_key = output_field(String, KEY, validate=validate.Regexp("^[A-Za-z0-9]{16}$"))
    project_secret = output_field(String, SECRET, validate=validate.Regexp("^[A-Za-z0-9]{48}$"))


class Project(Reply):
    """A project; ``project_secret`` is "" when the service has lost the key that opens it."""

    id = output_field(Integer, 2)
    project_name = output_field(String, NAME)
    project_type = output_field(Integer, 1)
    project_key = output_field(String, KEY)
    project_secret = output_field(String, SECRET)
    end_points = List(
        String(),
        required=True,
        metadata={"example": ["https://api.hobbychain.org//rpc", "wss://api.hobbychain.org//ws"]},
    )
    deleted = output_field(Boolean, False)
    created_time = output_field(
        String, "2024-03-07 15:47:02", validate=validate.Regexp(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$")
    )
    request_total = output_field(Integer, 0)
    request_today = output_field(Integer, 0)
    request_max = output_field(Integer, 30)
    pool_id = output_field(Integer, 0)
    pool_name = output_field(String, "")


class ProjectPage(Reply):
    """One page of projects."""

    list = List(Nested(Project), required=True)


class Day(Reply):
    """One day in the service's time zone."""

    day = output_field(String, "2024-03-07")
    requests = output_field(Integer, 12)


class Usage(Reply):
    """The requests of a project by day, oldest first; the last day is today."""

    active_until = output_field(Integer, 0)
    last_used = output_field(String, "2024-03-07")
    list = List(Nested(Day), required=True)
