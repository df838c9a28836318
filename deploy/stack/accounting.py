"""Reads the gateway's /metrics; computes rates and lag from the difference of two readings."""

from __future__ import annotations

import itertools
import urllib.request
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

STATES = ("received", "committed", "duplicate", "quarantined", "discarded", "in_flight")
PREFIX = "biogate_intake_"


@dataclass(frozen=True)
class CounterReading:
    """The gateway's counters at a time (s). `counts` by state and kind, `lag` by upper bound in seconds, cumulative."""

    at: float
    counts: dict[tuple[str, str], float]
    lag: dict[float, float]

    def total(self, state: str, kind: str | None = None) -> int:
        """The count in a state, of one kind or of all."""
        return int(sum(value for (of, which), value in self.counts.items() if of == state and kind in {None, which}))


def read(url: str, at: float, timeout_s: float = 1.0) -> CounterReading | None:
    """A reading of the gateway at `url`, or None if it does not answer."""
    try:
        with urllib.request.urlopen(f"{url}/metrics", timeout=timeout_s) as answer:  # noqa: S310 - our own http URL
            return parse(answer.read().decode(), at)
    except OSError:
        return None


def parse(text: str, at: float) -> CounterReading:
    """A reading from the Prometheus text format."""
    counts: dict[tuple[str, str], float] = {}
    lag: dict[float, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            state = sample.name.removeprefix(PREFIX).removesuffix("_total")
            if sample.name.startswith(PREFIX) and state in STATES:
                counts[state, sample.labels.get("kind", "")] = sample.value
            elif sample.name == "biogate_lag_seconds_bucket":
                lag[float(sample.labels["le"])] = sample.value
    return CounterReading(at, counts, lag)


@dataclass
class CounterWindow:
    """The readings of the last `span_s` seconds."""

    span_s: float = 15.0
    readings: deque[CounterReading] = field(default_factory=deque)

    def add(self, reading: CounterReading) -> None:
        """Add a reading. Counters that fell come from a restarted gateway: the readings before are dropped."""
        if self.readings and reading.total("received") < self.readings[-1].total("received"):
            self.readings.clear()
        self.readings.append(reading)
        while reading.at - self.readings[0].at > self.span_s:
            self.readings.popleft()

    def rate(self, state: str, kind: str) -> float:
        """The rate of a state and kind over the window, per second."""
        if len(self.readings) < 2:
            return 0.0
        first, last = self.readings[0], self.readings[-1]
        return (last.total(state, kind) - first.total(state, kind)) / (last.at - first.at)

    def lag(self, fraction: float) -> float | None:
        """A quantile in seconds of the lag within the window; None where nothing came."""
        if len(self.readings) < 2:
            return None
        first, last = self.readings[0].lag, self.readings[-1].lag
        return quantile(fraction, [(bound, last[bound] - first.get(bound, 0)) for bound in sorted(last)])


def quantile(fraction: float, buckets: Sequence[tuple[float, float]]) -> float | None:
    """A quantile of cumulative (upper bound, count) pairs, linear within a bucket, as Prometheus's histogram_quantile.

    The last bucket is open: a quantile in it is the greatest finite bound. None for an empty histogram.
    """
    if not buckets or buckets[-1][1] <= 0:
        return None
    rank = fraction * buckets[-1][1]
    for (lower, below), (upper, count) in itertools.pairwise([(0.0, 0.0), *buckets]):
        if count >= rank and count > below:
            return lower if upper == float("inf") else lower + (upper - lower) * (rank - below) / (count - below)
    return buckets[-1][0]
