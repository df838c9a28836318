"""Errors of the local stack, with texts that tell the reader what to do."""

from __future__ import annotations

from pathlib import Path

from deploy.stack.paths import short
from schema.errors import BiogateError

TAIL_LINES = 12


class StackError(BiogateError):
    """Base of all errors of the local stack; the text is meant for the user."""


class StartError(StackError):
    """Raised when a process did not start. The text has its name, the reason, the end of its log and the log's path."""

    def __init__(self, name: str, reason: str, log: Path | None = None) -> None:
        text = f"{name} did not start: {reason}"
        if log is not None:
            lines = tail(log) or ["(it wrote nothing)"]
            text = "\n    ".join([text, *lines]) + f"\n  The whole log: {short(log)}"
        super().__init__(text)


def with_log(text: str, log: Path) -> StackError:
    """The error whose text goes on with the last lines of a log."""
    return StackError("\n    ".join([f"{text}. The log, {short(log)}, ends with:", *tail(log)]))


def tail(log: Path, lines: int = TAIL_LINES) -> list[str]:
    """The last lines of a log file, or none if there is no such file."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 16384))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return []
    return text.splitlines()[-lines:]
