"""All metrics of the API process."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import cache

from prometheus_client import REGISTRY, Counter, Histogram, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

REQUESTS = Counter(
    "biogate_api_requests_total",
    "Requests answered; route is other where none of the API fits; status is 2xx to 5xx, or aborted when the answer was"
    " begun and not finished",
    ["route", "method", "status"],
)
SECONDS = Histogram(
    "biogate_api_request_seconds",
    "From the request to the last byte of the answer",
    ["route"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
DATABASE_ERRORS = Counter(
    "biogate_api_database_errors_total",
    "Statements that failed; kind is unavailable, busy, too-long, schema or other",
    ["kind"],
)
LOGINS = Counter(
    "biogate_api_logins_total",
    "Log-ins and other guesses at a secret; result is success, failure, or limited: refused for too many failures",
    ["result"],
)
LIMITED = Counter(
    "biogate_api_limited_total", "Requests over the rate limit; kind is caller or anonymous (an address)", ["kind"]
)


class Quantiles(Collector):
    """Of the newest requests of each route, exactly; a histogram can only say between which bounds."""

    _labelnames = ("route", "quantile")
    LAST = 1000

    def __init__(self) -> None:
        self._newest: dict[str, deque[float]] = {}
        REGISTRY.register(self)

    def of(self, route: str) -> deque[float]:
        return self._newest.setdefault(route, deque(maxlen=self.LAST))

    def describe(self) -> list[Metric]:
        return [self._family()]

    def collect(self) -> list[Metric]:
        family = self._family()
        for route, newest in self._newest.items():
            ordered = sorted(newest)
            for quantile in ("0.5", "0.95", "0.99"):
                place = min(int(float(quantile) * len(ordered)), len(ordered) - 1)
                family.add_metric([route, quantile], ordered[place])
        return [family]

    def _family(self) -> GaugeMetricFamily:
        return GaugeMetricFamily(
            "biogate_api_request_quantile_seconds",
            f"The same of the newest {self.LAST} requests of a route: quantile is 0.5, 0.95 or 0.99",
            labels=self._labelnames,
        )


QUANTILES = Quantiles()
Children = tuple[Callable[[], None], Callable[[float], None], Callable[[float], None]]
METHODS = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})


def answered(route: str, method: str, status: str, seconds: float) -> None:
    method = method if method in METHODS else "other"
    count, observe, remember = _children(route, method, status)
    count()
    observe(seconds)
    remember(seconds)


@cache  # hot path: to look these up costs more than what they do. Its size is that of the label sets
def _children(route: str, method: str, status: str) -> Children:
    return REQUESTS.labels(route, method, status).inc, SECONDS.labels(route).observe, QUANTILES.of(route).append
