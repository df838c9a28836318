"""Messages → services, by apprise: each in a thread of its own, for at most so long.

A thread cannot be ended. One that hangs is left alone, and until it has ended nothing else is sent by its route: so
there are never more of them than routes. They are no reason to wait when the process ends.
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

from gateway.alarms.notify.confinement import Confinement, confine

CONNECT_S, ANSWER_S = 5.0, 10.0
"""For each of the connections that a message may take; whatever the URL says."""
PACE_S = 0.2
"""Between those."""
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
        """By route: the newest, which may hang."""

    def hangs(self, route_id: int) -> bool:
        """Whether the last message still has not ended, long after its time."""
        thread = self._threads.get(route_id)
        if thread is None or thread.is_alive():
            return thread is not None
        del self._threads[route_id]
        return False

    async def send(self, route_id: int, url: str, message: Notice) -> str | None:
        """None: the service has it. Else why not, in words without a secret."""
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
    """In the thread. What a library says of an error may hold the URL: only what kind it is goes on."""
    said: list[str] = []
    try:
        import apprise  # noqa: PLC0415  # 20 MB, 0.3 s: where there is something to tell
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
            service_timeout=0,  # it would take another thread
            storage_mode="memory",
        )
        service = apprise.Apprise.instantiate(url, asset=asset)
        if service is None:
            return "the URL is none that its kind understands"
        # What a URL may say otherwise.
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
        return f"refused: {confinement.refused}" if confinement.refused else f"a defect: {type(error).__name__}"
    if sent:
        return None
    return f"refused: {confinement.refused}" if confinement.refused else _reason(" ".join(said))


def _reason(said: str) -> str:
    """What kind of failure it was, of what the library has logged."""
    answered = re.search(r"\berror=(\d{3})\b", said)
    if answered:
        return f"the service answered {answered[1]}"
    if re.search("connection|socket|connect", said, re.IGNORECASE):
        return "the service cannot be reached, or broke off"
    return "the service did not take it"


class _Heard(logging.Handler):
    """Keeps what is said for who asked; nothing of it gets into our log."""

    def emit(self, record: logging.LogRecord) -> None:
        said = _said.get()
        if said is not None:
            said.append(record.getMessage())


def _listen(logger: logging.Logger) -> None:
    for each in (logger, logging.getLogger("urllib3")):
        if not any(isinstance(handler, _Heard) for handler in each.handlers):
            each.handlers[:] = [_Heard(logging.WARNING)]
            each.propagate = False
