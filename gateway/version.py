"""The version, apart from the package's code so that building reads it without importing."""

__version__ = "0.1.0"
