"""All metrics of the API process."""

from __future__ import annotations

from prometheus_client import Counter, Histogram

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
METHODS = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})


def answered(route: str, method: str, status: str, seconds: float) -> None:
    REQUESTS.labels(route, method if method in METHODS else "other", status).inc()
    SECONDS.labels(route).observe(seconds)
