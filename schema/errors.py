"""The base of the errors that people read."""

from __future__ import annotations


class BiogateError(Exception):
    """Base of each package's errors. Its text says what cannot be done and why; it ends a command."""

    exit_code = 1


class Misused(BiogateError):
    """A command was used wrongly, or a setting is wrong. The text says what to change."""

    exit_code = 2
