"""Reads the canary's values from the API."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

TIMEOUT_S = 10.0
REFUSED = (401, 403)
ASK_AGAIN_S = 10.0
"""Seconds for which a refused key is not shown again: the API counts and logs each try."""


class ApiUnanswered(Exception):
    """Raised when the API did not answer, or refused."""


class KeyRefused(ApiUnanswered):
    """Raised when the API does not accept the key, or did not a moment ago."""


class CanaryReader:
    """Reads the key from its file each time, so that a new key needs no restart."""

    def __init__(self, url: str, key_file: Path, device: str, channel: str) -> None:
        self._url = f"{url.rstrip('/')}/api/v1/devices/{device}/telemetry"
        self._key_file, self._channel = key_file, channel
        self._refused: tuple[str, float, KeyRefused] | None = None
        """The key that was refused last, until when it is not shown again, and what the API said."""

    async def value_at(self, t: int) -> float | None:
        """The value at time `t` (ms), or None while there is none. Raises ApiUnanswered."""
        query = urlencode({"channel": self._channel, "from": t, "to": t + 1})
        try:
            key = self._key_file.read_text().strip()
        except OSError as error:
            raise KeyRefused(f"the key cannot be read: {error}") from error
        if self._refused is not None and self._refused[0] == key and time.monotonic() < self._refused[1]:
            raise self._refused[2]
        try:
            answer = await asyncio.to_thread(self._get, f"{self._url}?{query}", key)
        except KeyRefused as refused:
            self._refused = key, time.monotonic() + ASK_AGAIN_S, refused
            raise
        self._refused = None
        rows = answer["rows"]
        return float(rows[0][1]) if rows else None

    def _get(self, url: str, key: str) -> Any:
        request = Request(url, headers={"Authorization": f"Bearer {key}"})  # noqa: S310 - from a checked setting
        try:
            with urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310
                return json.load(answer)
        except HTTPError as error:
            with error:
                problem = error.read().decode(errors="replace")
            if error.code in (404, 422) and "has never sent" in problem:
                return {"rows": []}  # its first value is still on its way
            words = f"{error.code}: {problem}"
            raise (KeyRefused(words) if error.code in REFUSED else ApiUnanswered(words)) from error
        except (OSError, ValueError) as error:
            raise ApiUnanswered(str(error)) from error
