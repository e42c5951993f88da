"""Strict marshmallow fields, and the base of every schema.

A message of a field is the rest of a sentence that begins with the field's name.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any

from marshmallow import EXCLUDE, Schema, ValidationError, fields, validate

from gateway.settings import INT32_MAX

ABSENT = {"required": "is missing", "null": "must not be null"}
MAX_SENT = 256  # characters; longer text is refused unread, because normalising can be slow


class Text(fields.String):
    """Text without control characters or broken Unicode."""

    default_error_messages = {
        **ABSENT,
        "invalid": "must be text",
        "characters": "must not hold control characters or broken Unicode",
        "length": "must be {min_length} to {max_length} characters long",
    }

    format_name = ""  # in OpenAPI
    lengths = (1, MAX_SENT)  # of a clean text

    def __init__(self, *lengths: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.min_length, self.max_length = lengths or self.lengths

    @property
    def rule(self) -> dict[str, Any]:
        """The part of the rule that JSON Schema can express; the docstring says all of it.

        It holds no pattern, because tools differ in the regular expressions that they understand.
        """
        lengths = {"minLength": self.min_length, "maxLength": self.max_length}
        return {**lengths, "format": self.format_name} if self.format_name else lengths

    def wrong_length(self) -> ValidationError:
        """Return the refusal of a text that is too short or too long."""
        return self.make_error("length", min_length=self.min_length, max_length=self.max_length)

    def clean(self, text: str) -> str:
        """Return the text in the form that is checked and stored. Subclasses override this."""
        return text

    def check(self, text: str) -> Any:
        """Return the value of a clean text, or raise ``make_error``. Subclasses override this."""
        return text

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> Any:
        if not isinstance(value, str):
            raise self.make_error("invalid")
        if len(value) > MAX_SENT:
            raise self.wrong_length()
        if any(unicodedata.category(character) in ("Cc", "Cs") for character in value):
            raise self.make_error("characters")
        text = self.clean(value)
        if not self.min_length <= len(text) <= self.max_length:
            raise self.wrong_length()
        return self.check(text)


class Stripped(Text):
    """Text without control characters; the service drops the white space around it."""

    def clean(self, text: str) -> str:
        """Remove the white space around the text."""
        return text.strip()


def without_invisible_ends(text: str) -> str:
    """Return a text without white space and invisible marks (category Cf) around it.

    Phones and chat programs add them when an address is copied.
    """
    shown = [n for n, c in enumerate(text) if not c.isspace() and unicodedata.category(c) != "Cf"]
    return text[shown[0] : shown[-1] + 1] if shown else ""


class Int32(fields.Integer):
    """A JSON integer from ``minimum`` to ``maximum`` (at most 2**31 - 1); not a bool, not 2.0."""

    default_error_messages = {**ABSENT, "invalid": "must be an integer"}

    def __init__(self, minimum: int = 0, maximum: int = INT32_MAX, **kwargs: Any) -> None:
        error = f"must be an integer from {minimum} to {maximum}"
        limits = validate.Range(minimum, maximum, error=error)
        super().__init__(strict=True, validate=limits, **kwargs)


class Flag(fields.Boolean):
    """JSON's true or false, and nothing that Python takes for them."""

    default_error_messages = {**ABSENT, "invalid": "must be true or false"}

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> Any:
        if type(value) is not bool:
            raise self.make_error("invalid")
        return value


def says(example: Any, description: str, **more: str) -> dict[str, Any]:
    """Return the argument of a field that holds its words in the description of the API."""
    return {"metadata": {"example": example, "description": description, **more}}


class Request(Schema):
    """The body of a request; fields that the schema does not know are dropped."""

    class Meta:
        unknown = EXCLUDE


class PageRequest(Request):
    """The body of a request for a page of a list."""

    page_no = Int32(load_default=0, **says(0, "Which page; the first is 0"))
    page_size = Int32(1, 100, load_default=20, **says(20, "Entries on a page"))


class Reply(Schema):
    """The ``data`` of a reply: these fields, all of them. A later version may add fields.

    Views write plain dictionaries. These schemas describe them, and tests compare the two.
    """

    class Meta:
        unknown = EXCLUDE


class Empty(Reply):
    """An empty object."""


def output_field(
    field: type[fields.Field[Any]],
    example: Any,
    description: str,
    *,
    validate: validate.Validator | None = None,
    **more: str,
) -> fields.Field[Any]:
    """Return a field that is always in the reply.

    :param example: a value of it.
    :param description: what it means, for the description of the API.
    :param more: its ``format`` in OpenAPI, where it is not that of its type.
    """
    return field(required=True, validate=validate, **says(example, description, **more))


def entries(schema: type[Schema], description: str) -> fields.Field[Any]:
    """Return a field that is always in the reply: a list of objects of a schema."""
    metadata = {"description": description}
    return fields.List(fields.Nested(schema), required=True, metadata=metadata)
