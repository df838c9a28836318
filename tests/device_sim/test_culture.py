"""The culture against the published outcome of its model, and the run against what a run looks like."""

from __future__ import annotations

import pytest

from device_sim import culture
from device_sim.culture import LENGTH, STARTS, STEP, Culture, CultureRow, Phase, phase_at


def test_the_batch_phase_ends_as_the_model_was_published() -> None:
    cells, hour, exhausted, most_acetate, least_oxygen = Culture(), 0.0, None, 0.0, 100.0
    while hour < culture.FEED_START:
        cells = culture.advance(cells, feed=0.0, kla=220.0)
        hour += STEP
        most_acetate, least_oxygen = max(most_acetate, cells.acetate), min(least_oxygen, cells.oxygen)
        if exhausted is None and cells.glucose < 0.05:
            exhausted = hour
    assert exhausted == pytest.approx(9.17, abs=0.01)
    assert cells.cells == pytest.approx(2.926, abs=0.001)
    assert most_acetate == pytest.approx(0.245, abs=0.001)
    assert least_oxygen == pytest.approx(56.4, abs=0.1)


def test_a_run_holds_its_setpoints_while_it_grows_and_feeds() -> None:
    rows = list(culture.rows())
    late_batch, feeding = rows[round(9 / STEP)], rows[round(16 / STEP)]
    for row in (late_batch, feeding):
        assert row.temperature == pytest.approx(37.0, abs=0.5)
        assert row.ph == pytest.approx(7.0, abs=0.05)
        assert row.dissolved_oxygen == pytest.approx(30.0, abs=2)
        assert row.agitation > 300
    assert feeding.feed_rate > 10
    assert late_batch.feed_rate == 0
    assert max(row.otr for row in rows) == pytest.approx(62.5, abs=1)


def test_the_table_has_every_column_of_a_row_and_every_step_of_a_run() -> None:
    assert culture.table().shape == (round(LENGTH / STEP), len(CultureRow._fields))


def test_phases_follow_each_other() -> None:
    assert [phase_at(start) for start in STARTS] == list(Phase)
    assert phase_at(LENGTH - STEP) is Phase.IDLE
    assert Phase.EXPONENTIAL_FEED.text == "exponential feed"
