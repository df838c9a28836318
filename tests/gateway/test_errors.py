"""What an exception says, where people read it."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest
from structlog.testing import capture_logs

from deploy.stack.paths import CHECKOUT
from gateway.errors import words_of
from gateway.runtime.database import Trouble, Troubles

SILENT = [
    TimeoutError(),
    OSError(),
    ConnectionResetError(),
    asyncio.IncompleteReadError(b"", 4),
    asyncpg.InterfaceError(""),
]


@pytest.mark.parametrize("error", [*SILENT, OSError(111, "refused")], ids=lambda error: type(error).__name__)
def test_an_error_has_words(error: Exception) -> None:
    assert words_of(error).strip()


@pytest.mark.parametrize("error", SILENT, ids=lambda error: type(error).__name__)
def test_a_trouble_and_its_log_line_have_words(error: Exception) -> None:
    troubles: Troubles = {}
    with capture_logs() as logs:
        Trouble(troubles, "store").failed(error)
    [line] = logs
    assert line["error"]
    assert not troubles["store"].endswith(": ")


def test_no_line_of_the_log_has_the_bare_text_of_an_exception() -> None:
    for file in (CHECKOUT / "gateway").rglob("*.py"):
        assert "error=str(error)" not in file.read_text(), file
