"""Bounds how many challenges a gateway makes in a second, with shares for those who have more to show."""

from __future__ import annotations

from limits import RateLimitItemPerSecond
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import MovingWindowRateLimiter

from gateway.enrollment.decisions import KnownSerial

UNKNOWN, EACH = 1 / 4, 1 / 2
"""The parts of the pace that all unknown serials get together, and that one known serial gets at most."""


class HelloPace:
    """Three shares: for unknown serials, for known ones, and for known ones with their pinned identity key. Nobody can
    use up a share by what he makes up, nor that of a controller whose key he does not know."""

    def __init__(self, hellos_per_s: int) -> None:
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        self._all = RateLimitItemPerSecond(hellos_per_s)
        self._unknown = RateLimitItemPerSecond(max(1, int(hellos_per_s * UNKNOWN)))
        self._each = RateLimitItemPerSecond(max(1, int(hellos_per_s * EACH)))

    async def admits(self, serial: str, identity: bytes, known: KnownSerial | None) -> bool:
        if known is None:
            return await self._limiter.hit(self._unknown, "unknown")
        share = "pinned" if known.identity_key == identity else "known"
        return await self._limiter.hit(self._each, share, serial) and await self._limiter.hit(self._all, share)
