"""How often somebody may guess: failures are counted for the account and for the address they come from."""

from __future__ import annotations

import math
import secrets
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from ipaddress import IPv6Address, ip_address

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from starlette.requests import HTTPConnection

from api import metrics
from api.problems import TooMany

A_MINUTE = 10
BUCKETS = 1 << 20
"""So much is remembered at most, whoever comes with however many names; two share a bucket by chance alone."""


class Attempt:
    def __init__(self) -> None:
        self.has_failed = False

    def failed(self) -> None:
        self.has_failed = True


class Attempts:
    """Counts the failed attempts that this process has seen. An attempt under way counts as failed until it has ended:
    hashing takes time, and a hundred attempts at once must not be a hundred guesses."""

    def __init__(self) -> None:
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        self._limit = RateLimitItemPerMinute(A_MINUTE)
        self._under_way: Counter[str] = Counter()
        self._salt = secrets.token_bytes(16)

    @contextmanager
    def attempt(self, request: HTTPConnection, account: str | None = None) -> Iterator[Attempt]:
        """Count one attempt as under way. Raises TooMany if the account or the address has failed too often."""
        of = [f"address {network(request)}", *([] if account is None else [f"account {account.lower()}"])]
        buckets = [self._bucket(one) for one in of]
        for bucket in buckets:
            stats = self._limiter.get_window_stats(self._limit, bucket)
            if stats.remaining <= self._under_way[bucket]:
                metrics.LOGINS.labels("limited").inc()
                wait = max(1, math.ceil(stats.reset_time - time.time()))
                raise TooMany(
                    f"more than {A_MINUTE} failures a minute: wait {wait} s", headers={"Retry-After": str(wait)}
                )
        self._under_way.update(buckets)
        attempt = Attempt()
        try:
            yield attempt
        finally:
            self._under_way.subtract(buckets)
            self._under_way += Counter()  # forget zeros
            if attempt.has_failed:
                for bucket in buckets:
                    self._limiter.hit(self._limit, bucket)

    def _bucket(self, of: str) -> str:
        digest = blake2b(of.encode(), key=self._salt, digest_size=8).digest()
        return str(int.from_bytes(digest) % BUCKETS)


def address(connection: HTTPConnection) -> str:
    return "unknown" if connection.client is None else connection.client.host


def network(connection: HTTPConnection) -> str:
    """Whom an anonymous request is counted for: its address, or of IPv6 the /64 that one customer has."""
    host = address(connection)
    try:
        known = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if not isinstance(known, IPv6Address):
        return str(known)
    return str(known.ipv4_mapped or IPv6Address(int(known) >> 64 << 64))
