"""The live feed: newest values as they are committed, over a WebSocket that is opened again when it breaks."""

from __future__ import annotations

import asyncio
import json
import math
import socket
import ssl
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from websockets.asyncio.client import connect as async_connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, InvalidURI, SecurityError, WebSocketException
from websockets.sync.client import connect as sync_connect

from biogate.asking import HttpReply, LostReply, Patience, Query, failure, retry_after
from biogate.errors import ClientError
from biogate.infos import Content, moment_or_none
from biogate.login import ApiLogin
from biogate.transport import AGENT, tls

PATH = "/api/v1/ws/live-data"
SILENCE_S = 45.0
"""A feed that says nothing for so long is dead: a heartbeat comes each 15 s."""
OPENING_S = 20.0
MOST_BYTES = 16 * 2**20
"""Of a message; the API's are 256 KiB or less, but for a device with very many channels."""
PASSING = frozenset({429, 500, 502, 503, 504})
SENT_SOMETHING = 1008
ENDED = (OSError, WebSocketException)
FINAL = (ssl.SSLError, socket.gaierror, InvalidURI, SecurityError)
"""What another attempt would not change: certificates, unknown names, redirects to what is no feed."""


@dataclass(frozen=True)
class LiveUpdate:
    """The newest values of a device.

    `values` has None for a channel that was due and had no value, or of which none was found; `quality` the channels
    that are not good (1 bad, 2 uncertain), and `times` those that are older than `time`. `skipped` counts updates that
    came and went since the last one that was told. `is_gone`: the device is not there any more, for this key.
    """

    device: str
    time: datetime | None
    values: Mapping[str, float | None]
    quality: Mapping[str, int]
    times: Mapping[str, datetime | None]
    units: Mapping[str, str | None]
    skipped: int = 0
    is_gone: bool = False

    @classmethod
    def of(cls, content: Content, units: Mapping[str, str | None]) -> LiveUpdate:
        return cls(
            device=content["device"],
            time=moment_or_none(content.get("time")),
            values=content.get("values", {}),
            quality=content.get("quality", {}),
            times={name: moment_or_none(text) for name, text in content.get("times", {}).items()},
            units=content.get("units", units),
            skipped=content.get("skipped", 0),
            is_gone=content.get("gone", False),
        )


class LiveFeed:
    """What is known of each device, over all connections. Pure."""

    def __init__(self, parameters: Query) -> None:
        self.target = f"{PATH}?{urlencode(parameters)}" if parameters else PATH
        self._known: dict[str, LiveUpdate] = {}
        self._snapshot: dict[str, LiveUpdate] | None = None
        """The devices of a snapshot that is not whole yet."""
        self._had_snapshot = False
        self._patience = Patience(math.inf)

    def take(self, text: str | bytes) -> list[LiveUpdate]:
        """Return what a message changes; a snapshot after a new connection changes what was missed. Raises ClientError
        for a device that there is not."""
        content = json.loads(text)
        if content["type"] == "changes":
            return [self._changed(one) for one in content["changes"]]
        return self._of_snapshot(content) if content["type"] == "snapshot" else []

    def _changed(self, content: Content) -> LiveUpdate:
        known = self._known.get(content["device"])
        update = LiveUpdate.of(content, {} if known is None else known.units)
        if update.is_gone:
            self._known.pop(update.device, None)
        else:
            self._known[update.device] = update
        return update

    def _of_snapshot(self, content: Content) -> list[LiveUpdate]:
        if content.get("unknown") and not self._had_snapshot:
            raise ClientError(f"devices: there is no {', '.join(content['unknown'])}")
        before = self._known
        if self._snapshot is None:
            self._snapshot = {}
        found = [LiveUpdate.of(one, {}) for one in content["devices"]]
        self._snapshot |= {one.device: one for one in found}
        news = [one for one in found if _differs(one, before.get(one.device))]
        if not content.get("more"):
            gone = [one for name, one in before.items() if name not in self._snapshot]
            news += [LiveUpdate(one.device, None, {}, {}, {}, {}, is_gone=True) for one in gone]
            self._known, self._snapshot, self._had_snapshot = self._snapshot, None, True
            self._patience.renew()
        return news

    def pause_after(self, error: Exception) -> float:
        """Return how many seconds to wait before the next connection. Raises ClientError if it would be in vain."""
        self._snapshot = None
        reply = _reply(error) if isinstance(error, InvalidStatus) else LostReply(error)
        if isinstance(reply, HttpReply) and reply.status not in PASSING:
            raise failure(reply) from error
        if isinstance(error, ConnectionClosed) and error.rcvd is not None and error.rcvd.code == SENT_SOMETHING:
            raise ClientError(f"the feed was closed: {error.rcvd.reason}") from error
        if isinstance(error, FINAL):
            raise ClientError(f"no connection: {error}") from error
        pause = self._patience.pause(retry_after(reply))
        assert pause is not None, "a feed is opened again for ever"
        return pause


def _differs(new: LiveUpdate, known: LiveUpdate | None) -> bool:
    return known is None or replace(new, skipped=0) != replace(known, skipped=0)


def _reply(error: InvalidStatus) -> HttpReply:
    answer = error.response
    return HttpReply(
        answer.status_code,
        {name.lower(): value for name, value in answer.headers.raw_items()},
        bytes(answer.body or b""),
    )


def _arguments(login: ApiLogin) -> dict[str, Any]:
    """Return how to connect. A redirect to another origin is followed without the key, and so in vain."""
    return {
        "additional_headers": login.authorization() | AGENT,
        "user_agent_header": None,
        "compression": None,
        "open_timeout": OPENING_S,
        "max_size": MOST_BYTES,
        "ssl": tls(login) if login.url.startswith("https") else None,
    }


def _address(login: ApiLogin, feed: LiveFeed) -> str:
    return "ws" + login.url.removeprefix("http") + feed.target


def updates(login: ApiLogin, feed: LiveFeed) -> Iterator[LiveUpdate]:
    """Yield changes for ever."""
    while True:
        try:
            with sync_connect(_address(login, feed), **_arguments(login)) as opened:
                while True:
                    yield from feed.take(opened.recv(timeout=SILENCE_S))
        except ENDED as error:
            pause = feed.pause_after(error)
        time.sleep(pause)


async def async_updates(login: ApiLogin, feed: LiveFeed) -> AsyncIterator[LiveUpdate]:
    """Yield changes for ever."""
    while True:
        try:
            async with async_connect(_address(login, feed), **_arguments(login)) as opened:
                while True:
                    async with asyncio.timeout(SILENCE_S):
                        text = await opened.recv()
                    for update in feed.take(text):
                        yield update
        except ENDED as error:
            pause = feed.pause_after(error)
        await asyncio.sleep(pause)
