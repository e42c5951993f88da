"""Fixtures of the pages' tests, where a person is an account on a node that many tests share."""

from support.console_page import (  # noqa: F401
    admin,
    browser,
    console,
    person,
    start_node,
    visit,
)
