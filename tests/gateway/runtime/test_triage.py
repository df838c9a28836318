"""What an error of the database says: again, otherwise, or never."""

from __future__ import annotations

import asyncpg
import pytest

from gateway.errors import SchemaBehind
from gateway.runtime.triage import TriageVerdict, needed, sqlstate, triage
from tests.in_turn import in_turn

UNIQUE, NOT_NULL, CHECK = "23505", "23502", "23514"
NUMERIC_RANGE, BAD_DATETIME, BAD_BINARY = "22003", "22008", "22P03"
DATA = [NOT_NULL, CHECK, "23503", NUMERIC_RANGE, BAD_DATETIME, BAD_BINARY, "22021", "22000"]
TRANSIENT = [
    "08006", "25006", "40001", "40P01", "53100", "53300", "55P03", "55006",
    "57P01", "57P03", "57014", "58030",
]  # fmt: skip
TERMINAL = ["28P01", "28000", "3D000", "3F000", "42P01", "42703", "42501", "42883"]
SUSPECT = ["53200", "54000", "54001", "P0001", "XX000", "0A000", "53000", "21000"]


def error(state: str) -> Exception:
    """As asyncpg raises it when the server says so; also for a state it has no class for."""
    found: Exception = asyncpg.PostgresError.new({"C": state, "M": "message", "S": "ERROR"})
    return found


def test_a_key_that_exists_takes_the_conflict_path() -> None:
    assert triage(error(UNIQUE)) is TriageVerdict.CONFLICT


@pytest.mark.parametrize("state", DATA)
def test_what_the_data_are_to_blame_for_is_split(state: str) -> None:
    assert triage(error(state)) is TriageVerdict.DATA


@pytest.mark.parametrize("state", TRANSIENT)
def test_what_the_surroundings_are_to_blame_for_is_tried_again(state: str) -> None:
    assert triage(error(state)) is TriageVerdict.TRANSIENT


@pytest.mark.parametrize("state", TERMINAL)
def test_what_a_person_has_to_mend_is_said(state: str) -> None:
    assert triage(error(state)) is TriageVerdict.TERMINAL
    assert needed(error(state))


def test_a_missing_right_is_not_called_a_missing_table() -> None:
    assert "right" in str(needed(error("42501")))
    assert "biogate migrate" in str(needed(error("42P01")))
    assert "biogate migrate" in str(needed(SchemaBehind("the database lacks 0004")))
    assert needed(error("53100")) is None


@pytest.mark.parametrize("state", SUSPECT)
def test_what_may_be_either_is_tried_a_few_times(state: str) -> None:
    assert triage(error(state)) is TriageVerdict.SUSPECT


@pytest.mark.parametrize("lost", [OSError(), ConnectionResetError(), TimeoutError(), asyncpg.InterfaceError("closed")])
def test_a_lost_connection_is_tried_again(lost: Exception) -> None:
    assert triage(lost) is TriageVerdict.TRANSIENT


def test_an_error_nobody_knows_is_tried_again() -> None:
    assert triage(RuntimeError("?")) is TriageVerdict.TRANSIENT


@pytest.mark.parametrize("ours", [OverflowError(), UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogate")])
def test_a_value_that_cannot_be_sent_is_split(ours: Exception) -> None:
    assert triage(ours) is TriageVerdict.DATA


@in_turn("statement", ["select 1/0", "select 'x'::jsonb", "select 3e9::int", "select E'\\\\x00'::json"])
async def test_what_the_server_says_of_bad_data_is_split(database: asyncpg.Connection, statement: str) -> None:
    with pytest.raises(asyncpg.PostgresError) as caught:
        await database.fetchval(statement)
    assert triage(caught.value) is TriageVerdict.DATA


def test_the_state_is_the_servers_or_the_name_of_the_error() -> None:
    assert sqlstate(error(CHECK)) == CHECK
    assert sqlstate(ConnectionResetError()) == "ConnectionResetError"
