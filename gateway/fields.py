"""Strict marshmallow fields shared by both features (README, Requests).

Messages are the rest of a sentence that begins with the field's name.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any

from marshmallow import fields, validate

from gateway.config import INT32_MAX


class Text(fields.String):
    """Text without control characters or lone surrogates, ``least`` to ``most`` characters."""

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
    """Text without the white space around it."""

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
