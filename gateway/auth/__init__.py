"""Accounts: mailed codes, registration, login, passwords and tokens."""

from gateway.auth.routes import bp

__all__ = ["bp"]
