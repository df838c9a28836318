"""Bounds how often somebody may guess: it counts failures for the account and for the address they come from."""

from __future__ import annotations

import asyncio
import math
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import blake2b
from ipaddress import IPv6Address, ip_address
from typing import Literal

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from starlette.requests import HTTPConnection

from api import metrics
from api.problems import Busy, TooMany

A_MINUTE = 10
BUCKETS = 1 << 20
"""Accounts and addresses remembered at most, however many names somebody tries; two share a bucket by chance alone."""
PATIENCE_S = 10.0
"""How long an attempt waits for those under way, before it is told to come again."""

Purpose = Literal["log-in", "password", "registration", "code"]
"""What is tried. Each has a budget of its own: who registers a team does not keep the others from logging in."""


class Attempt:
    def __init__(self) -> None:
        self.has_failed = False

    def failed(self) -> None:
        self.has_failed = True


class Attempts:
    """Counts the failed attempts that this process has seen. No more are under way at once than may fail, as hashing
    takes time, and a hundred attempts at once must not be a hundred guesses; the others wait until these have ended."""

    def __init__(self) -> None:
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        self._limit = RateLimitItemPerMinute(A_MINUTE)
        self._under_way: Counter[str] = Counter()
        self._ended = asyncio.Condition()
        self._salt = secrets.token_bytes(16)

    @asynccontextmanager
    async def attempt(
        self,
        request: HTTPConnection,
        purpose: Purpose,
        account: str | None = None,
        *,
        known: bool = False,
        session_id: int | None = None,
    ) -> AsyncIterator[Attempt]:
        """Count one attempt as under way. Raises TooMany if the account or the address has failed too often.

        `known`: somebody has logged in to the account from this address. It is judged by what has failed there for
        this account alone, so neither strangers elsewhere nor colleagues lock its owner out.
        `session_id`: the attempt comes from a session of the account, which is as good; the session has a budget too,
        or who has stolen it could guess from many addresses."""
        network_ = network(request)
        address_ = self._bucket(f"{purpose} address {network_}")
        if account is None:
            judged = counted = [address_]
        elif known or session_id is not None:
            judged = [self._bucket(f"{purpose} account {account.lower()} from {network_}")]
            if session_id is not None:
                judged.append(self._bucket(f"{purpose} session {session_id}"))
            counted = [*judged, address_]
        else:
            judged = counted = [address_, self._bucket(f"{purpose} account {account.lower()}")]
        await self._turn(purpose, judged)
        self._under_way.update(judged)
        attempt = Attempt()
        try:
            yield attempt
        finally:
            self._under_way.subtract(judged)
            self._under_way += Counter()  # forget zeros
            if attempt.has_failed:
                for bucket in counted:
                    self._limiter.hit(self._limit, bucket)
            async with self._ended:
                self._ended.notify_all()

    async def _turn(self, purpose: Purpose, buckets: list[str]) -> None:
        """Wait until one more may be under way. Raises TooMany, and Busy if those under way take too long."""
        try:
            async with asyncio.timeout(PATIENCE_S), self._ended:
                while not self._is_free(purpose, buckets):
                    await self._ended.wait()
        except TimeoutError:
            raise Busy("too many try this at this moment: try again", headers={"Retry-After": "5"}) from None

    def _is_free(self, purpose: Purpose, buckets: list[str]) -> bool:
        stats = [self._limiter.get_window_stats(self._limit, bucket) for bucket in buckets]
        used_up = [one.reset_time for one in stats if not one.remaining]
        if used_up:
            metrics.LOGINS.labels("limited").inc()
            wait = max(1, math.ceil(max(used_up) - time.time()))
            what = "registrations" if purpose == "registration" else "failures"
            raise TooMany(f"{A_MINUTE} {what} in a minute: wait {wait} s", headers={"Retry-After": str(wait)})
        return all(one.remaining > self._under_way[bucket] for one, bucket in zip(stats, buckets, strict=True))

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
