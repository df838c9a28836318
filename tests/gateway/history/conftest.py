"""The import of files, on the test's own database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.history.entry import import_file
from gateway.history.importer import ImportRequest
from gateway.history.mapping import changed, load_mapping
from gateway.runtime.database import Pool, create_pool
from tests.gateway.history.exports import Import
from tests.gateway.material import settings


@pytest.fixture
async def pool(pool: Pool, worker_url: str) -> AsyncIterator[Pool]:
    """A worker's own, with what the gateway's has."""
    async with create_pool(settings(worker_url)) as own:
        yield own


@pytest.fixture
def imported(pool: Pool, worker_url: str) -> Import:
    """Imports a file, as the command does; the report."""

    async def run(
        path: Path,
        mapping: str | None = None,
        *,
        dry_run: bool = False,
        create: bool = False,
        organization: tuple[str, int] = ("main", 1),
        **said: str,
    ) -> dict[str, Any]:
        chosen = changed(load_mapping(mapping), said)
        request = ImportRequest(path, path.name, chosen, *organization, "eva", "as the test says", create)
        report = await import_file(settings(worker_url), pool, request, dry_run=dry_run)
        assert report.frames == report.stored + report.duplicate + report.rejected
        told: dict[str, Any] = msgspec.to_builtins(report)
        return told

    return run
