"""Rates and lag from the gateway's metrics."""

from __future__ import annotations

import pytest

from deploy.stack.accounting import CounterWindow, parse, quantile

TEXT = """
# TYPE biogate_intake_received_total counter
biogate_intake_received_total{{kind="frame"}} {received}
biogate_intake_received_total{{kind="status"}} 4.0
# TYPE biogate_intake_committed_total counter
biogate_intake_committed_total{{kind="frame"}} {committed}
# TYPE biogate_intake_in_flight gauge
biogate_intake_in_flight{{kind="frame"}} 2.0
# TYPE biogate_lag_seconds histogram
biogate_lag_seconds_bucket{{le="0.01"}} {fast}
biogate_lag_seconds_bucket{{le="0.1"}} {committed}
biogate_lag_seconds_bucket{{le="+Inf"}} {committed}
biogate_lag_seconds_count {committed}
biogate_lag_seconds_sum 1.0
"""


def text(received: float, committed: float, fast: float) -> str:
    return TEXT.format(received=received, committed=committed, fast=fast)


def test_counts_are_read_by_state_and_kind() -> None:
    reading = parse(text(10, 8, 4), at=0)
    assert reading.total("received") == 14
    assert reading.total("received", "frame") == 10
    assert reading.total("in_flight") == 2
    assert reading.total("quarantined") == 0


def test_rate_and_lag_are_those_of_the_window() -> None:
    window = CounterWindow()
    window.add(parse(text(1000, 1000, 0), at=0))
    window.add(parse(text(1200, 1200, 200), at=10))
    assert window.rate("committed", "frame") == 20
    assert window.lag(0.5) == pytest.approx(0.005)


def test_readings_leave_the_window() -> None:
    window = CounterWindow(span_s=10)
    for second in range(100):
        window.add(parse(text(second, second, 0), at=second))
    assert len(window.readings) == 11


def test_a_restarted_gateway_begins_a_new_window() -> None:
    window = CounterWindow()
    window.add(parse(text(1000, 1000, 0), at=0))
    window.add(parse(text(10, 10, 0), at=1))
    assert window.rate("committed", "frame") == 0
    assert window.lag(0.5) is None


@pytest.mark.parametrize(
    ("buckets", "fraction", "expected"),
    [
        ([], 0.5, None),
        ([(1.0, 0), (float("inf"), 0)], 0.5, None),
        ([(1.0, 10), (2.0, 20), (float("inf"), 20)], 0.5, 1.0),
        ([(1.0, 10), (2.0, 20), (float("inf"), 20)], 0.75, 1.5),
        ([(1.0, 0), (2.0, 0), (float("inf"), 5)], 0.5, 2.0),
    ],
)
def test_quantiles_are_linear_within_a_bucket(
    buckets: list[tuple[float, float]], fraction: float, expected: float | None
) -> None:
    assert quantile(fraction, buckets) == expected
