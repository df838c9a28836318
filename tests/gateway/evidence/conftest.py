"""Time stamp authorities."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gateway.evidence.authority import Authority, authority_in


@pytest.fixture
def authority(tmp_path: Path) -> Iterator[Authority]:
    with authority_in(tmp_path / "authority") as authority:
        yield authority


@pytest.fixture
def other_authority(tmp_path: Path) -> Iterator[Authority]:
    with authority_in(tmp_path / "other-authority") as authority:
        yield authority
