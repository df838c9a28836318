"""Sends messages to services by apprise, each in a thread of its own with a time limit.

A thread cannot be ended. One that hangs is left alone, and its route sends nothing else until it has ended, so there
are never more such threads than routes. They are daemons: the process does not wait for them when it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import re
import threading
from dataclasses import dataclass
from typing import Literal

from gateway.alarms.notify.confinement import NOT_PUBLIC, Confinement, confine

CONNECT_S, ANSWER_S = 5.0, 10.0
"""Seconds for each connection of a message, whatever the URL says."""
PACE_S = 0.2
"""Seconds between two connections of a message."""
UNREACHED = "the service cannot be reached, or broke off"
UNREACHED_IN_PUBLIC = "the service cannot be reached at a public address, or broke off"
Tone = Literal["info", "success", "warning", "failure"]

_said: contextvars.ContextVar[list[str] | None] = contextvars.ContextVar("said", default=None)


@dataclass(frozen=True, slots=True)
class Notice:
    tone: Tone
    title: str
    text: str


class NotificationChannels:
    def __init__(self, timeout_s: float, private: bool) -> None:
        self._timeout_s = timeout_s
        self._private = private
        self._threads: dict[int, threading.Thread] = {}
        """The newest thread by route_id; it may hang."""

    def hangs(self, route_id: int) -> bool:
        """Whether the thread of the route's last message still runs."""
        thread = self._threads.get(route_id)
        if thread is None or thread.is_alive():
            return thread is not None
        del self._threads[route_id]
        return False

    async def send(self, route_id: int, url: str, message: Notice) -> str | None:
        """Send a message; None when the service has it, else the reason, without secrets."""
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[str | None] = loop.create_future()

        def end(outcome: str | None) -> None:
            if not ended.done():
                ended.set_result(outcome)

        def work() -> None:
            outcome = _send(url, message, Confinement(self._private))
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(end, outcome)

        thread = threading.Thread(target=contextvars.Context().run, args=(work,), name="notify", daemon=True)
        self._threads[route_id] = thread
        thread.start()
        try:
            async with asyncio.timeout(self._timeout_s):
                return await ended
        except TimeoutError:
            return f"no answer within {self._timeout_s:g} s"


def _send(url: str, message: Notice, confinement: Confinement) -> str | None:
    """Send in this thread. A library's error text may hold the URL, so only the kind of error is returned."""
    said: list[str] = []
    try:
        import apprise  # noqa: PLC0415  # 20 MB, 0.3 s: loaded when there is something to tell
        from apprise.logger import logger  # noqa: PLC0415

        _listen(logger)
        _said.set(said)
        confine(confinement)
        asset = apprise.AppriseAsset(
            app_id="Biogate",
            app_desc="Biogate",
            app_url="",
            image_url_mask="",
            image_url_logo="",
            async_mode=False,
            interpret_emojis=False,
            http_redirects=False,
            service_timeout=0,  # another value would start another thread
            storage_mode="memory",
        )
        service = apprise.Apprise.instantiate(url, asset=asset)
        if service is None:
            return "the URL is none that its kind understands"
        # Options in the URL may set these otherwise.
        service.redirects = False
        service.socket_connect_timeout, service.socket_read_timeout = CONNECT_S, ANSWER_S
        service.request_rate_per_sec = min(service.request_rate_per_sec, PACE_S)
        service.retry, service.wait, service.optional = 0, 0.0, False
        services = apprise.Apprise(asset=asset)
        services.add(service)
        sent = services.notify(
            message.text,
            message.title,
            notify_type=apprise.NotifyType(message.tone),
            body_format=apprise.NotifyFormat.TEXT,
        )
    except Exception as error:
        return _reason("", confinement) if confinement.refused else f"a defect: {type(error).__name__}"
    return None if sent else _reason(" ".join(said), confinement)


def _reason(said: str, confinement: Confinement) -> str:
    """The class of failure, found in what the library has logged.

    It does not tell an address inside the plant from a name that there is not, nor one answer of a service from
    another: who writes a URL could find out by it what stands in the plant."""
    if confinement.refused and confinement.refused != NOT_PUBLIC:
        return f"refused: {confinement.refused}"
    answered = re.search(r"\berror=([2-5])\d{2}\b", said)
    if answered and not confinement.refused:
        return f"the service answered {answered[1]}xx"
    if confinement.refused or re.search("connection|socket|connect", said, re.IGNORECASE):
        return UNREACHED if confinement.private else UNREACHED_IN_PUBLIC
    return "the service did not take it"


class _Heard(logging.Handler):
    """Keeps what a library logs for the call that caused it, and out of the process's log."""

    def emit(self, record: logging.LogRecord) -> None:
        said = _said.get()
        if said is not None:
            said.append(record.getMessage())


def _listen(logger: logging.Logger) -> None:
    for each in (logger, logging.getLogger("urllib3")):
        if not any(isinstance(handler, _Heard) for handler in each.handlers):
            each.handlers[:] = [_Heard(logging.WARNING)]
            each.propagate = False
