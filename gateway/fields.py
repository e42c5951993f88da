"""Strict marshmallow fields shared by both features (README, Requests).

Messages are the rest of a sentence that begins with the field's name.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any

from marshmallow import INCLUDE, RAISE, Schema, fields, validate

from gateway.config import INT32_MAX

# In the regular expressions of JSON Schema: control characters, and white space without those.
CONTROLS = r"\u0000-\u001f\u007f-\u009f"
SPACE = rf"[^\S{CONTROLS}]"


class Text(fields.String):
    """Text without control characters or lone surrogates."""

    default_error_messages = {
        "required": "is missing",
        "null": "must not be null",
        "invalid": "must be text",
        "characters": "must not hold control characters or broken Unicode",
        "length": "must be {least} to {most} characters long",
    }

    def __init__(self, least: int, most: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.least = least
        self.most = most

    @property
    def rule(self) -> dict[str, Any]:
        """What JSON Schema can say of it; the API page shows it, and the code decides."""
        return {
            "minLength": self.least,
            "maxLength": self.most,
            "pattern": rf"^[^{CONTROLS}]*$",
        }

    def clean(self, text: str) -> str:
        """Return the text as it is to be judged and kept; as received unless overridden."""
        return text

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> str:
        if not isinstance(value, str):
            raise self.make_error("invalid")
        if any(unicodedata.category(character) in ("Cc", "Cs") for character in value):
            raise self.make_error("characters")
        text = self.clean(value)
        if not self.least <= len(text) <= self.most:
            raise self.make_error("length", least=self.least, most=self.most)
        return text


class Stripped(Text):
    """Text; white space around it is not counted, nor kept."""

    @property
    def rule(self) -> dict[str, Any]:
        """The pattern counts what is between the white space."""
        visible = rf"[^\s{CONTROLS}]"
        text = rf"{visible}([^{CONTROLS}]{{0,{self.most - 2}}}{visible})?"
        return {"pattern": rf"^{SPACE}*{text if self.least else f'({text})?'}{SPACE}*$"}

    def clean(self, text: str) -> str:
        """Strip."""
        return text.strip()


class Int32(fields.Integer):
    """A JSON integer, not a bool, not 2.0, from ``least`` to ``most`` (at most 2**31 - 1)."""

    default_error_messages = {
        "required": "is missing",
        "null": "must not be null",
        "invalid": "must be an integer",
    }

    def __init__(self, least: int = 0, most: int = INT32_MAX, **kwargs: Any) -> None:
        error = f"must be an integer from {least} to {most}"
        super().__init__(validate=validate.Range(least, most, error=error), **kwargs)

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> int:
        if type(value) is not int:
            raise self.make_error("invalid")
        return value


class Request(Schema):
    """What the body of a request holds; ``envelope.takes`` drops what else is sent."""

    class Meta:
        """Other fields are no fault."""

        unknown = INCLUDE


class Reply(Schema):
    """What ``data`` of a reply holds: exactly these fields, all of them.

    Replies are written as they are; these schemas describe them (README, Where things are).
    """

    class Meta:
        """Another field is a fault."""

        unknown = RAISE


class Nothing(Reply):
    """An empty object."""


def shown(kind: type[fields.Field[Any]], example: Any, **kwargs: Any) -> fields.Field[Any]:
    """Return a field of a reply, which is always there, with an example of its value."""
    return kind(required=True, metadata={"example": example}, **kwargs)
