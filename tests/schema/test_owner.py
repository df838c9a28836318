"""Whose login makes tables and roles."""

from __future__ import annotations

from pathlib import Path

import pytest

from schema.errors import Misused
from schema.owner import OWNER_FILE, owner_url

TOOLS = "postgresql://tools:x@db/biogate"


def test_the_owners_login_is_that_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("postgresql://owner:secret@db:5432/biogate\n")
    assert owner_url(TOOLS, {OWNER_FILE: str(tmp_path / "url")}) == "postgresql://owner:secret@db:5432/biogate"


@pytest.mark.parametrize("environment", [{}, {OWNER_FILE: ""}])
def test_without_a_file_it_is_the_login_that_is_given(environment: dict[str, str]) -> None:
    assert owner_url(TOOLS, environment) == TOOLS


@pytest.mark.parametrize("other", ["postgresql://o:secret@db/other", "postgresql://o:secret@db:5433/biogate"])
def test_a_file_of_another_database_is_refused_without_its_password(tmp_path: Path, other: str) -> None:
    (tmp_path / "url").write_text(other)
    with pytest.raises(Misused, match="is of another database than BIOGATE_DATABASE_URL") as refused:
        owner_url(TOOLS, {OWNER_FILE: str(tmp_path / "url")})
    assert "secret" not in str(refused.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(Misused, match="gone cannot be read: No such file"):
        owner_url(TOOLS, {OWNER_FILE: str(tmp_path / "gone")})
