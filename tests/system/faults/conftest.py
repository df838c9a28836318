"""A PostgreSQL of their own for the tests that kill it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.faults.servers import Site, site


@pytest.fixture(scope="package")
def ground() -> Iterator[Site]:
    with site(f"test-faults-{os.getpid()}") as made:
        yield made
