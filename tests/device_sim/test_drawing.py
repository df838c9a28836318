"""Drawings of runs: panels, phases, and the same bytes for the same options."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from device_sim.drawing import PANELS, Drawn, draw, run_of

START, HOUR = 1_780_000_000_000, 3_600_000


@pytest.fixture(scope="module")
def run() -> Drawn:
    return run_of("sim-0001", 1, "coli", START, 24 * HOUR)


def test_a_run_has_its_phases_one_after_the_other(run: Drawn) -> None:
    assert [name for _, _, name in run.phases][:2] == ["batch", "exponential feed"]
    assert [end for _, end, _ in run.phases[:-1]] == [begin for begin, _, _ in run.phases[1:]]
    assert (run.phases[0][0], run.phases[-1][1]) == (0.0, 24.0)
    assert run.hours[-1] == pytest.approx(24.0, abs=0.1)
    for _, names in PANELS:
        assert set(names) <= set(run.values)
    assert np.nanmax(run.values["optical_density"]) > 10


@pytest.mark.parametrize("ending", ["svg", "png"])
def test_the_same_run_is_the_same_file(run: Drawn, ending: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    files = [tmp_path / f"{number}.{ending}" for number in (1, 2)]
    for path in files:
        draw(run, "sim-0001, seed 1", path)
    one, two = (path.read_bytes() for path in files)
    assert one == two
    assert one.startswith(b"\x89PNG" if ending == "png" else b"<?xml")
    if ending == "svg":
        for text in (b"sim-0001, seed 1", b"exponential feed", b"OD, AU", b"hours"):
            assert text in one
