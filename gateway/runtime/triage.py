"""Decides whether a failed write is worth trying again as it is, by SQLSTATE and exception type, never by text."""

from __future__ import annotations

from enum import Enum

import asyncpg

from schema.migrate import EXTENSION_BEHIND, NO_SUCH_FILE


class TriageVerdict(Enum):
    TRANSIENT = "try again"
    """This is the default: an error not known to be permanent passes, sooner or later."""
    CONFLICT = "take the conflict path"
    """A key is stored already."""
    DATA = "split, and quarantine what is refused alone"
    """Something in the batch is refused for its content: class 22 data exception, 23 integrity constraint."""
    SUSPECT = "try again a few times, then split"
    """The error looks transient, but may come from the batch: a COPY over thousands of days always fails with 53200."""
    TERMINAL = "say it loudly, try again slowly"
    """Nothing will be stored until a person does something: wrong credentials, a missing table."""


SURROUNDINGS = (
    "08",  # connection
    "25",  # read-only after a fail-over
    "40",  # deadlock, serialization
    "55",  # object in use, lock not available
    "57",  # shut down, cancelled, cannot connect now
    "58",  # I/O error
    "53100",  # disk full
    "53300",  # too many connections
)
"""Beginnings of SQLSTATEs that come from the state of the database, and not from the batch."""

NEEDED = {
    "28": "the database refuses the login: check user and password in BIOGATE_DATABASE_URL",
    NO_SUCH_FILE: EXTENSION_BEHIND,
    "3D": "there is no such database: check BIOGATE_DATABASE_URL, or create it and run `biogate migrate`",
    "3F": "a schema is missing: run `biogate migrate`",
    "42501": "a right is missing: grant it to the user in BIOGATE_DATABASE_URL",
    "42": "the schema is not that of this version: run `biogate migrate`",
    "SchemaBehind": "the schema is older than this version: run `biogate migrate`",
}
"""Instructions for a person by the beginning of the SQLSTATE; the first that fits. Only these errors are TERMINAL."""


def triage(error: Exception) -> TriageVerdict:
    """Decide what to do about a batch that failed with `error`."""
    if isinstance(error, asyncpg.UniqueViolationError):
        return TriageVerdict.CONFLICT
    state = sqlstate(error)
    if state.startswith(("22", "23")) or isinstance(error, OverflowError | UnicodeError):
        return TriageVerdict.DATA
    if needed(error) is not None:
        return TriageVerdict.TERMINAL
    if isinstance(error, asyncpg.PostgresError) and not state.startswith(SURROUNDINGS):
        return TriageVerdict.SUSPECT
    return TriageVerdict.TRANSIENT


def needed(error: Exception) -> str | None:
    """The instruction for a person about `error`; None if it passes by itself."""
    state = sqlstate(error)
    return next((words for begin, words in NEEDED.items() if state.startswith(begin)), None)


def sqlstate(error: Exception) -> str:
    """The five characters of the SQLSTATE, or the name of the exception's type if the server sent none."""
    return getattr(error, "sqlstate", None) or type(error).__name__
