"""The shape of the requests about projects (README, Requests)."""

from __future__ import annotations

from marshmallow import Schema

from gateway.fields import Int32, Stripped


class CreateRequest(Schema):
    """POST /api/v1/project/create."""

    project_type = Int32(required=True)
    project_name = Stripped(1, 128, required=True)


class ListRequest(Schema):
    """POST /api/v1/project/list; ``user_id`` 0 is the caller."""

    user_id = Int32(load_default=0)
    page_no = Int32(load_default=0)
    page_size = Int32(1, 100, load_default=20)


class DeleteRequest(Schema):
    """POST /api/v1/project/delete."""

    id = Int32(required=True)


class RotateRequest(Schema):
    """POST /api/v1/project/rotate; ``grace_hours`` is how long the old secret goes on working."""

    id = Int32(required=True)
    grace_hours = Int32(0, 168, load_default=0)
