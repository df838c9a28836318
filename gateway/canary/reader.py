"""Reads the canary's values from the API."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

TIMEOUT_S = 10.0


class ApiUnanswered(Exception):
    """Raised when the API did not answer, or refused."""


class CanaryReader:
    def __init__(self, url: str, key: str, device: str, channel: str) -> None:
        self._url = f"{url.rstrip('/')}/api/v1/devices/{device}/telemetry"
        self._key, self._channel = key, channel

    async def value_at(self, t: int) -> float | None:
        """The value at time `t` (ms), or None while there is none. Raises ApiUnanswered."""
        query = urlencode({"channel": self._channel, "from": t, "to": t + 1})
        answer = await asyncio.to_thread(self._get, f"{self._url}?{query}")
        rows = answer["rows"]
        return float(rows[0][1]) if rows else None

    def _get(self, url: str) -> Any:
        request = Request(url, headers={"Authorization": f"Bearer {self._key}"})  # noqa: S310 - from a checked setting
        try:
            with urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310
                return json.load(answer)
        except HTTPError as error:
            with error:
                problem = error.read().decode(errors="replace")
            if error.code in (400, 404) and "has never sent" in problem:
                return {"rows": []}  # its first value is still on its way
            raise ApiUnanswered(f"{error.code}: {problem}") from error
        except (OSError, ValueError) as error:
            raise ApiUnanswered(str(error)) from error
