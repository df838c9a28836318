"""Boot counters."""

from __future__ import annotations

from pathlib import Path

import pytest

from device_sim.boots import next_boots


def test_each_start_counts_one_more_boot_for_each_device(tmp_path: Path) -> None:
    state = tmp_path / "state"
    assert next_boots(state, ["a", "b"]) == [1, 1]
    assert next_boots(state, ["b", "c"]) == [2, 1]
    assert next_boots(state, ["a", "b", "c"]) == [2, 3, 2]


def test_a_damaged_counter_is_refused_rather_than_started_anew(tmp_path: Path) -> None:
    (tmp_path / "a.boot").write_text("")
    with pytest.raises(ValueError, match="does not hold a boot counter"):
        next_boots(tmp_path, ["a"])


def test_a_start_that_died_before_the_rename_has_no_effect(tmp_path: Path) -> None:
    next_boots(tmp_path, ["a"])
    (tmp_path / "a.boot.new").write_text("99")
    assert next_boots(tmp_path, ["a"]) == [2]
