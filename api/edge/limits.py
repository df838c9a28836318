"""Limits how many requests a caller may send: each caller has a token bucket.

One number says how full a bucket is (the generic cell rate algorithm): the time at which it will be empty again. The
`limits` package cannot give a request back, and this is asked for every one (hot path).
"""

from __future__ import annotations

BURST_S = 5.0
"""A bucket holds what comes in so many seconds: a page that asks for everything at once is no attack."""
MOST_CALLERS = 10_000
FREE = frozenset({"/health", "/ready", "/metrics"})
"""Addresses that machines ask all the time: these requests have no limit, and are logged only when they fail."""


class Buckets:
    """One token bucket for each caller, refilled with `rate` requests a second; a rate of 0 means no limit."""

    def __init__(self, rate: float) -> None:
        self._step = 1 / rate if rate else 0.0
        self._room = max(BURST_S, self._step) + 1e-9  # which is the error of adding up
        self._empty_at: dict[str, float] = {}

    def take(self, caller: str, now: float) -> float:
        """Charge one request. Returns 0 if the request may pass, otherwise the seconds after which it may."""
        step = self._step
        empty_at = max(self._empty_at.get(caller, 0.0), now) + step
        if empty_at - now > self._room:
            return empty_at - now - self._room
        if len(self._empty_at) >= MOST_CALLERS and caller not in self._empty_at:
            self._sweep(now)
        self._empty_at[caller] = empty_at
        return 0.0

    def give_back(self, caller: str) -> None:
        """Refund one request that was charged to this caller by mistake."""
        if caller in self._empty_at:
            self._empty_at[caller] -= self._step

    def _sweep(self, now: float) -> None:
        """Forget the empty buckets, and all if that is not enough: memory must not grow with the addresses."""
        self._empty_at = {caller: at for caller, at in self._empty_at.items() if at > now}
        if len(self._empty_at) > MOST_CALLERS // 2:
            self._empty_at.clear()
