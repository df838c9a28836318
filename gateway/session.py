"""The persistent MQTT 5 session: connect, subscribe, reconnect; the connection below it does the bytes."""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl

import mqtt5
import structlog

from gateway import metrics
from gateway.connection import Connection
from gateway.errors import BrokerRefused, SessionTakenOver
from gateway.settings import Settings
from gateway.window import Window
from schema.topics import SUBSCRIPTIONS

log = structlog.get_logger()

CONNECT_TIMEOUT_S = 10.0
BACKOFF_S = (0.2, 10.0)


class Session:
    """Our session at the broker. It outlives connections; the broker queues for it while there is none."""

    def __init__(
        self,
        settings: Settings,
        client_id: str,
        window: Window,
    ) -> None:
        """Messages go into `window`; while it is full the socket is not read."""
        self._settings = settings
        self._client_id = client_id
        self._window = window
        self._window.on_room = self._resume
        self._connection: Connection | None = None
        self._stopping = asyncio.Event()

    @property
    def subscribed(self) -> bool:
        """Connected, with the subscriptions granted."""
        return self._connection is not None and not self._connection.lost.done()

    def stop_intake(self) -> None:
        """Take nothing more. Acknowledgements still go out."""
        self._stopping.set()
        if self._connection is not None:
            self._connection.drain()

    async def leave(self) -> None:
        """Disconnect in order. The session stays at the broker and queues for our return."""
        if self._connection is not None:
            await self._connection.disconnect()

    async def run(self) -> None:
        """Stay connected until `stop_intake`. Raises SessionTakenOver."""
        least, most = BACKOFF_S
        backoff = least
        while not self._stopping.is_set():
            if self._window.full:  # a new connection would bring another Receive Maximum of messages
                await self._pause(0.2)
                continue
            try:
                connection = await self._connect()
            except (OSError, TimeoutError, BrokerRefused) as error:
                log.warning("broker not reached", error=str(error) or type(error).__name__, retry_s=round(backoff, 1))
            else:
                backoff = least
                self._connection = connection
                metrics.MQTT_CONNECTED.set(1)
                async with asyncio.TaskGroup() as group:
                    group.create_task(connection.keep_alive(self._settings.keep_alive_s), name="keep-alive")
                    why = await asyncio.shield(connection.lost)
                metrics.MQTT_CONNECTED.set(0)
                if connection.taken_over:
                    raise SessionTakenOver(f"another client connected as ours (cell {self._settings.cell})")
                if self._stopping.is_set():
                    return
                log.warning("connection lost", reason=why)
            await self._pause(backoff * random.uniform(0.5, 1.0))
            backoff = min(backoff * 2, most)

    def _resume(self) -> None:
        if self._connection is not None:
            self._connection.resume()

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    async def _connect(self) -> Connection:
        """A connection with CONNECT and SUBSCRIBE granted. Raises OSError, TimeoutError, BrokerRefused."""
        settings, url = self._settings, self._settings.mqtt_url
        tls = ssl.create_default_context() if url.scheme == "mqtts" else None
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            _, connection = await asyncio.get_running_loop().create_connection(
                lambda: Connection(self._window),
                url.host or "localhost",
                url.port or (8883 if tls else 1883),
                ssl=tls,
            )
            try:
                connection.send(
                    mqtt5.ConnectPacket(
                        self._client_id,
                        username=settings.mqtt_username,
                        password=settings.mqtt_password.get_secret_value().encode() if settings.mqtt_password else None,
                        clean_start=False,
                        keep_alive=settings.keep_alive_s,
                        session_expiry_interval=settings.session_expiry_s,
                        receive_max=settings.receive_maximum,
                    )
                )
                granted = await connection.connack
                if granted.reason_code != mqtt5.ConnAckReasonCode.SUCCESS:
                    raise BrokerRefused(f"CONNECT refused: {granted.reason_code.name}")
                await self._subscribe(connection)
            except BaseException:
                connection.abort("not accepted")
                raise
        metrics.MQTT_CONNECTS.labels("yes" if granted.session_present else "no").inc()
        log.info("connected to the broker", session_present=granted.session_present)
        return connection

    async def _subscribe(self, connection: Connection) -> None:
        """On every connect: a broker that lost our session (a crash without a fresh save) lost the subscriptions too.
        Where they exist, the retained statuses are not sent again."""
        connection.send(
            mqtt5.SubscribePacket(
                1,
                [
                    mqtt5.TopicFilter(
                        pattern,
                        max_qos=mqtt5.QoS.AT_LEAST_ONCE,
                        retain_handling=mqtt5.RetainHandling.SEND_IF_SUBSCRIPTION_NOT_EXISTS,
                    )
                    for pattern in SUBSCRIPTIONS
                ],
            )
        )
        answer = await connection.suback
        for pattern, code in zip(SUBSCRIPTIONS, answer.reason_codes, strict=True):
            if code != mqtt5.SubAckReasonCode.GRANTED_QOS_AT_LEAST_ONCE:
                raise BrokerRefused(f"SUBSCRIBE {pattern} refused: {code.name}")
