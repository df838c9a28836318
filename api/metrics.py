"""All metrics of the API process."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import cache
from importlib.metadata import version

from prometheus_client import REGISTRY, Counter, Gauge, Histogram, Info, Metric, disable_created_metrics
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

disable_created_metrics()  # type: ignore[no-untyped-call]  # they say nothing that a restart counter does not

REQUESTS = Counter(
    "biogate_api_requests_total",
    "answered requests; route is other if no route of the API fits; status is 2xx to 5xx, or aborted if the answer was "
    "begun and not finished",
    ["route", "method", "status"],
)
SECONDS = Histogram(
    "biogate_api_request_seconds",
    "time from the request to the last byte of the answer",
    ["route"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
DATABASE_ERRORS = Counter(
    "biogate_api_database_errors_total",
    "SQL statements that failed; kind is unavailable, busy, too-long, schema or other",
    ["kind"],
)
DATABASE_REACHABLE = Gauge(
    "biogate_api_database_reachable", "1 if the database answered the API within 2 s, 0 if not; asked every 2 s"
)
LOGINS = Counter(
    "biogate_api_logins_total",
    "attempts to log in or prove another secret; result is success, failure, or limited (after too many failures)",
    ["result"],
)
LIMITED = Counter(
    "biogate_api_limited_total", "requests over the rate limit; kind is caller or anonymous (an address)", ["kind"]
)
LIVE_CLIENTS = Gauge("biogate_api_live_clients", "open live feeds; kind is socket or events", ["kind"])
LIVE_ENDED = Counter(
    "biogate_api_live_ended_total",
    "ended live feeds; reason is gone (the client left), credentials (they ended), slow (the client did not keep up), "
    "talks (the client sent something) or closing (this process ends)",
    ["reason"],
)
LIVE_TRANSITIONS = Counter("biogate_api_live_transitions_total", "transitions that live feeds sent, over all clients")
LIVE_CHANGES = Counter(
    "biogate_api_live_changes_total", "changed states of devices that live feeds sent, over all clients"
)
LIVE_DELAY = Histogram(
    "biogate_api_live_delay_seconds",
    "from a commit, by the gateway's clock, until its news was encoded for all who listen",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.015, 0.025, 0.04, 0.06, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)

CONNECTIONS = Gauge("biogate_api_connections", "connections of clients")
CONNECTIONS_LIMIT = Gauge("biogate_api_connections_limit", "most connections of clients: BIOGATE_API_CONNECTIONS")
POOL_CONNECTIONS = Gauge("biogate_api_pool_connections", "connections to the database; use is busy or idle", ["use"])
POOL_LIMIT = Gauge("biogate_api_pool_limit", "most connections to the database: BIOGATE_API_POOL_SIZE")
EVENT_LOOP_LAG = Histogram(
    "biogate_api_event_loop_lag_seconds",
    "how late a task of the event loop gets its turn",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5),
)
BUILD = Info("biogate_api_build", "version of the API")
BUILD.info({"version": version("biogate")})

for _result in ("success", "failure", "limited"):
    LOGINS.labels(_result)
for _kind in ("caller", "anonymous"):
    LIMITED.labels(_kind)
for _kind in ("unavailable", "busy", "too-long", "schema", "other"):
    DATABASE_ERRORS.labels(_kind)


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
            f"request time of the newest {self.LAST} requests of a route; quantile is 0.5, 0.95 or 0.99",
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
