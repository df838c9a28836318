"""Latencies: quantiles, and the frame of a device that is followed."""

from __future__ import annotations

import random

import pytest

from device_sim.latency import FrameProbe, Latencies


@pytest.mark.parametrize("part", [0.01, 0.5, 0.99])
def test_quantiles_are_right_within_a_tenth(part: float) -> None:
    chance, latencies = random.Random(1), Latencies()
    times = sorted(chance.lognormvariate(3, 2) for _ in range(5000))
    for time in times:
        latencies.add(time)
    true, said = times[int(part * len(times))], latencies.quantile(part)
    assert said is not None
    assert true * 0.98 - 0.1 <= said <= true * 1.12 + 0.1


def test_nothing_has_no_quantile() -> None:
    assert Latencies().summary("receipted") == {"receipted_ms_p50": None, "receipted_ms_p99": None}


def test_one_frame_is_followed_to_its_receipt_then_the_next() -> None:
    acknowledged, receipted = Latencies(), Latencies()
    probe = FrameProbe(acknowledged, receipted)
    for seq in range(3):
        probe.produced(7, seq, 1000.0 + seq)
    probe.acknowledged(6, 5, 1010.0)  # of another boot
    probe.acknowledged(7, 0, 1020.0)
    probe.acknowledged(7, 1, 1030.0)
    probe.receipted(7, 2, 1100.0)
    assert (acknowledged.total, receipted.total) == (1, 1)
    assert acknowledged.quantile(1) == pytest.approx(20, rel=0.1)
    assert receipted.quantile(1) == pytest.approx(100, rel=0.1)
    probe.receipted(7, 9, 1200.0)
    assert receipted.total == 1
    probe.produced(8, 0, 2000.0)  # the boot before is forgotten
    probe.receipted(8, 0, 2010.0)
    assert receipted.total == 2
