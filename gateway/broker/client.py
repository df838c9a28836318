"""MQTT clients for enrollment, administration, commands and alarms; the intake has a faster connection of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from math import inf
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import aiomqtt

from gateway.broker.address import tls
from gateway.settings import Settings

if TYPE_CHECKING:
    from gateway.secrets import Secrets

KEEP_ALIVE_S = 15
TIMEOUT_S = 10.0
MOST_WAITING = 1000
"""Messages that may wait to be looked at. More are dropped with a warning: their senders will repeat them."""

T = TypeVar("T")
Inbox: TypeAlias = "type[asyncio.Queue[aiomqtt.Message]]"


class MqttClient(aiomqtt.Client):
    """An MQTT client that keeps the reason codes of PUBACKs, never loses a cancellation, and watches no socket that is
    closed; the library does none of these.

    The library waits by `asyncio.wait_for`. Before Python 3.12 that drops a cancellation which comes together with the
    answer, and the task would work on for ever: without the lead, or instead of ending. It has the loop watch a socket
    by its number later on; if the connection broke meanwhile, the number is nobody's, or already another socket's.
    """

    answered = 0
    """Reason code of the last PUBACK."""
    worst = 0
    """The greatest reason code since this was set to 0."""

    def _on_publish(self, client: Any, userdata: Any, mid: int, reason_code: Any, properties: Any) -> None:
        self.answered = reason_code.value
        self.worst = max(self.worst, reason_code.value)
        super()._on_publish(client, userdata, mid, reason_code, properties)

    def _on_socket_open(self, client: Any, userdata: Any, sock: Any) -> None:
        def read() -> None:
            client.loop_read()
            while sock.fileno() >= 0 and hasattr(sock, "pending") and sock.pending():  # TLS has decoded more
                client.loop_read()

        def begin() -> None:
            self._misc_task = self._loop.create_task(self._misc_loop())

        self._watch(self._loop.add_reader, sock, read)
        self._loop.call_soon_threadsafe(begin)

    def _on_socket_register_write(self, client: Any, userdata: Any, sock: Any) -> None:
        self._watch(self._loop.add_writer, sock, client.loop_write)

    def _watch(self, add: Callable[[int, Callable[[], None]], None], sock: Any, work: Callable[[], Any]) -> None:
        """Have the loop do `work` when the socket is ready; called from any thread."""

        def ready() -> None:
            try:
                work()
            except Exception as error:  # whatever it is, the connection broke; who waits is told
                if not self._disconnected.done():
                    self._disconnected.set_exception(error)

        def watch() -> None:
            if sock.fileno() >= 0:
                add(sock.fileno(), ready)

        self._loop.call_soon_threadsafe(watch)

    async def _wait_for(self, fut: Awaitable[T], timeout: float | None) -> T:  # noqa: ASYNC109 - the library's own
        return await answered(fut, self.timeout if timeout is None else timeout)


async def answered(answer: Awaitable[T], seconds: float) -> T:
    """Wait for an answer of the broker. Raises MqttError after so many seconds, and CancelledError if this task was
    cancelled, also if the answer came at the same moment."""
    try:
        async with asyncio.timeout(None if seconds == inf else seconds):
            return await answer
    except TimeoutError:
        raise aiomqtt.MqttError(f"no answer within {seconds:g} s") from None


def client(settings: Settings, secrets: Secrets, login: str, identifier: str, inbox: Inbox | None = None) -> MqttClient:
    """An MQTT 5 client with a clean start, not yet connected, for a login whose password is among the secrets."""
    return client_as(settings, login, secrets.password(login), identifier, inbox)


def client_as(
    settings: Settings, username: str | None, password: str | None, identifier: str, inbox: Inbox | None = None
) -> MqttClient:
    """An MQTT 5 client with a clean start, not yet connected, for this login, or for none."""
    context = tls(settings)
    return MqttClient(
        settings.mqtt_url.host or "localhost",
        settings.mqtt_url.port or (8883 if context else 1883),
        username=username,
        password=password,
        identifier=identifier,
        protocol=aiomqtt.ProtocolVersion.V5,
        clean_start=True,
        keepalive=KEEP_ALIVE_S,
        tls_context=context,
        timeout=TIMEOUT_S,
        max_queued_incoming_messages=MOST_WAITING,
        queue_type=inbox,
    )
