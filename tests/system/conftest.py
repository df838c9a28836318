"""The order of the files. A worker takes the next when it has none left, and the last one to end is waited for: so what
has a long file begins, and small ones fill what remains."""

from __future__ import annotations

from pathlib import Path

import pytest

FIRST = ("worker", "pages")
"""Folders; the others follow by name, by which Schemathesis and the plants of `deploy` come next."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    items.sort(key=lambda item: item.path.is_relative_to(here) and item.path.relative_to(here).parts[0] not in FIRST)
