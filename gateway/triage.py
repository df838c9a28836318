"""Is a failed write worth trying again as it is? By SQLSTATE and exception type, never by message text."""

from __future__ import annotations

from enum import Enum

import asyncpg


class Verdict(Enum):
    TRANSIENT = "try again"
    """The default: an error not known to be permanent passes, sooner or later."""
    CONFLICT = "take the conflict path"
    """A key is stored already."""
    DATA = "split, and quarantine what is refused alone"
    """22 data exception, 23 integrity constraint: something in the batch is refused for what it is."""
    SUSPECT = "try again a few times, then split"
    """Looks transient, but may be the batch: one COPY over thousands of days fails with 53200, and always will."""


SURROUNDINGS = (
    "08",  # connection
    "25",  # read-only after a fail-over
    "28",  # credentials
    "3D",  # no such database
    "40",  # deadlock, serialization
    "42",  # no such table, no right to it
    "55",  # object in use, lock not available
    "57",  # shut down, cancelled, cannot connect now
    "58",  # I/O error
    "53100",  # disk full
    "53300",  # too many connections
)
"""What says something of the database and nothing of the batch."""


def triage(error: Exception) -> Verdict:
    """What to do about a batch that failed with `error`."""
    if isinstance(error, asyncpg.UniqueViolationError):
        return Verdict.CONFLICT
    state = sqlstate(error)
    if state.startswith(("22", "23")) or isinstance(error, OverflowError | UnicodeError):
        return Verdict.DATA
    if isinstance(error, asyncpg.PostgresError) and not state.startswith(SURROUNDINGS):
        return Verdict.SUSPECT
    return Verdict.TRANSIENT


def sqlstate(error: Exception) -> str:
    """The five characters, or the exception's type where the server said nothing."""
    return getattr(error, "sqlstate", None) or type(error).__name__
