"""Names of devices that no other test uses."""

from __future__ import annotations

import uuid

import pytest


@pytest.fixture
def prefix() -> str:
    return f"t{uuid.uuid4().hex[:10]}-"
