"""Kinds of metrics that the Prometheus client does not have. The metrics of each process are in a module `metrics`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import Literal

import numpy as np
from prometheus_client import REGISTRY, Counter, Gauge, Info, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

SECONDS = (
    0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.08, 0.09, 0.1, 0.12, 0.15, 0.2, 0.25, 0.3,
    0.4, 0.5, 0.75, 1, 2, 5, 10, 30, 60, 300, 3600,
)  # fmt: skip
LOOP_EVERY_S = 0.5

disable_created_metrics()  # type: ignore[no-untyped-call]  # times of creation say nothing that process start does not


class BulkHistogram(Collector):
    """A histogram that takes a whole batch of observations at once (the client's own takes one at a time)."""

    def __init__(self, name: str, documentation: str, bounds: Sequence[float]) -> None:
        self._name, self._documentation = name, documentation
        self._bounds = np.asarray(bounds, dtype=np.float64)
        self._counts = np.zeros(len(bounds) + 1, dtype=np.int64)
        self._sum = 0.0
        REGISTRY.register(self)

    def observe(self, values: np.ndarray | float) -> None:
        """Count `values` (any shape) into their buckets."""
        flat = np.atleast_1d(np.asarray(values, dtype=np.float64))
        self._counts += np.bincount(np.searchsorted(self._bounds, flat), minlength=len(self._counts))
        self._sum += float(flat.sum())

    def collect(self) -> Iterable[Metric]:
        bounds = [*(f"{bound:g}" for bound in self._bounds), "+Inf"]
        buckets = list(zip(bounds, np.cumsum(self._counts).astype(float).tolist(), strict=True))
        yield HistogramMetricFamily(self._name, self._documentation, buckets=buckets, sum_value=self._sum)


class OptionalGauge(Collector):
    """A figure of another system, absent before `set` and after `forget`: a standby that exported the last would lie.

    `kind` is counter if the figure becomes smaller only when its source restarts.
    """

    def __init__(
        self, name: str, documentation: str, labels: Sequence[str] = (), kind: Literal["gauge", "counter"] = "gauge"
    ) -> None:
        self._name, self._documentation = name, documentation
        self._labelnames = tuple(labels)
        self._family = CounterMetricFamily if kind == "counter" else GaugeMetricFamily
        self._values: dict[tuple[str, ...], float] = {}
        REGISTRY.register(self)

    def set(self, value: float, *labels: str) -> None:
        self._values[labels] = value

    def replace(self, values: Mapping[tuple[str, ...], float]) -> None:
        """Export these values, by their labels, and no others."""
        self._values = dict(values)

    def forget(self) -> None:
        self._values = {}

    def collect(self) -> Iterable[Metric]:
        family = self._family(self._name, self._documentation, labels=self._labelnames)
        for labels, value in self._values.items():
            family.add_metric(labels, value)
        yield family


class BusyCounter(Collector):
    """Counts the seconds spent in `with busy():` while they pass, so that hanging work shows as well as slow work."""

    def __init__(self, name: str, documentation: str) -> None:
        self._name, self._documentation = name, documentation
        self._spent = 0.0
        self._since: float | None = None
        REGISTRY.register(self)

    @contextmanager
    def __call__(self) -> Iterator[None]:
        self._since = time.monotonic()
        try:
            yield
        finally:
            self._spent += time.monotonic() - self._since
            self._since = None

    def collect(self) -> Iterable[Metric]:
        since = self._since
        running = 0.0 if since is None else time.monotonic() - since
        yield CounterMetricFamily(self._name, self._documentation, value=self._spent + running)


def build_info(name: str, documentation: str) -> Info:
    """A metric whose label is the version of the product."""
    info = Info(name, documentation)
    info.info({"version": version("biogate")})
    return info


def show_zeros(values: Iterable[str], *metrics: Counter | Gauge) -> None:
    """Export each of `metrics` as 0 for each value of its one label, before the first count."""
    for value in values:
        for metric in metrics:
            metric.labels(value)


async def watch_event_loop(observe: Callable[[float], None]) -> None:
    """Observe every LOOP_EVERY_S how much later than asked for this task gets its turn, in seconds. Never returns."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + LOOP_EVERY_S
        await asyncio.sleep(LOOP_EVERY_S)
        observe(max(0.0, loop.time() - due))
