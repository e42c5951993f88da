"""Projects: an API key and secret, end points, and a daily quota."""

from gateway.project.routes import bp

__all__ = ["bp"]
