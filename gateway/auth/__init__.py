"""Accounts: mailed codes, registration, login and logout."""

from gateway.auth.routes import bp

__all__ = ["bp"]
