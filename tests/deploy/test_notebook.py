"""The tutorial is copied beside the user's data, and never over a copy that is another one."""

from __future__ import annotations

from pathlib import Path

from deploy.notebook import TUTORIAL, copy


def test_a_copy_that_was_changed_stays_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    assert copy(folder).endswith("tutorial.ipynb is ready.")
    place = folder / "tutorial.ipynb"
    assert place.read_bytes() == TUTORIAL.read_bytes()
    assert copy(folder).endswith("is ready.")
    place.write_text("mine")
    assert "stays as it is" in copy(folder)
    assert place.read_text() == "mine"
