from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from tests.gateway.alarms.notify.plant import Plant
from tests.gateway.alarms.notify.receivers import Mailbox, Webhook, mailbox, webhook


@pytest.fixture
def plant(database: asyncpg.Connection, secrets_dir: Path) -> Plant:
    return Plant(database, secrets_dir)


@pytest.fixture
def hook() -> Iterator[Webhook]:
    with webhook() as it:
        yield it


@pytest.fixture
def other_hook() -> Iterator[Webhook]:
    with webhook() as it:
        yield it


@pytest.fixture
def mail() -> Iterator[Mailbox]:
    with mailbox() as it:
        yield it
