"""The persistent MQTT 5 session of the intake: connect, subscribe, reconnect. broker/connection reads and writes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import mqtt5
import structlog

from gateway import metrics
from gateway.broker import certificates, sys_topics
from gateway.broker.address import BrokerLogin, tls
from gateway.broker.connection import REFUSED, IntakeConnection
from gateway.broker.outbox import Outbox
from gateway.broker.window import IntakeWindow
from gateway.errors import BrokerRefused, words_of
from gateway.runtime.events import wait_at_most
from gateway.settings import Settings
from schema.topics import SUBSCRIPTIONS

log = structlog.get_logger()

CONNECT_TIMEOUT_S = 10.0
LEAVE_S = 2.0
UNDER_WAY = 1000
"""Messages of the gateway that may wait for their acknowledgement, if the broker does not ask for fewer."""


class IntakeSession:
    """The gateway's session at the broker. It outlives connections: the broker queues messages while there is none.

    It connects only while the gateway leads: between `lead` and `stand_down`. When another client takes the session
    over, `taken_over` is set, and it does not connect until `lead` is called again.
    """

    def __init__(
        self,
        settings: Settings,
        login: BrokerLogin,
        window: IntakeWindow,
        outbox: Outbox,
        on_connect: Callable[[bool], None],
        *,
        before_connect: Callable[[], None],
    ) -> None:
        """`on_connect` is called at each connect, with whether the broker still had the session: messages that it kept
        may have come by then. `before_connect` is called before any message of the connection comes."""
        self._settings = settings
        self._login = login
        self._window = window
        self._window.on_room = self._resume
        self._outbox = outbox
        self._on_connect, self._before_connect = on_connect, before_connect
        self._connection: IntakeConnection | None = None
        self._leads = False
        self._stopping = False
        self._told = asyncio.Event()
        """Set when `lead` or `stop_intake` is called."""
        self.taken_over = asyncio.Event()

    @property
    def subscribed(self) -> bool:
        """Whether the session is connected, with its subscriptions granted."""
        return self._connection is not None and not self._connection.lost.done()

    @property
    def unacknowledged(self) -> int:
        """QoS 1 messages of the present connection whose PUBACK the broker waits for."""
        return self._connection.unacknowledged if self._connection is not None and self.subscribed else 0

    def lead(self) -> None:
        """Connect, and stay connected."""
        self._leads = True
        self._told.set()

    async def stand_down(self) -> None:
        """Leave the broker until `lead` is called again."""
        self._leads = False
        self.taken_over.clear()
        await self.leave()

    def stop_intake(self) -> None:
        """Take no more messages. Acknowledgements and the messages of the outbox still go out."""
        self._stopping = True
        self._told.set()
        if self._connection is not None:
            self._connection.drain()

    def publish(self) -> None:
        """Send the messages of the outbox for which there is room."""
        if self._connection is not None:
            self._connection.publish()

    async def leave(self) -> None:
        """Disconnect in order. The session stays at the broker, which queues messages for the next connection."""
        if self._connection is not None:
            await self._connection.disconnect(LEAVE_S)

    async def run(self) -> None:
        """Stay connected while leading, until `stop_intake`."""
        timing = self._settings.timing
        backoff = timing.reconnect_s
        while True:
            self._told.clear()
            if self._stopping:
                return
            if not self._leads:
                await self._told.wait()
                continue
            if self._window.full:  # a new connection would bring another Receive Maximum of messages
                await wait_at_most(0.2, self._told)
                continue
            try:
                connection = await self._connect()
            except (OSError, TimeoutError, BrokerRefused) as error:
                log.warning("broker not reached", error=words_of(error), retry_s=round(backoff, 1))
            else:
                if self._stopping or not self._leads:  # since the connect: nobody else will end this connection
                    await connection.disconnect(LEAVE_S)
                    continue
                backoff = timing.reconnect_s
                await self._use(connection)
            await wait_at_most(backoff * random.uniform(0.5, 1.0), self._told)
            backoff = min(backoff * 2, timing.longest_reconnect_s)

    async def _use(self, connection: IntakeConnection) -> None:
        """Keep `connection` alive until it is lost."""
        self._connection = connection
        metrics.MQTT_CONNECTED.set(1)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(connection.keep_alive(self._settings.keep_alive_s), name="keep-alive")
                why = await asyncio.shield(connection.lost)
        finally:
            metrics.MQTT_CONNECTED.set(0)
            sys_topics.forget()
        if connection.taken_over:
            self._leads = False
            self.taken_over.set()
        if not self._stopping:
            log.warning("connection lost", reason=why)

    def _resume(self) -> None:
        if self._connection is not None:
            self._connection.resume()

    async def _connect(self) -> IntakeConnection:
        """Make a connection with CONNECT and SUBSCRIBE granted. Raises OSError, TimeoutError, BrokerRefused."""
        settings, url = self._settings, self._settings.mqtt_url
        context = tls(settings)
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            transport, connection = await asyncio.get_running_loop().create_connection(
                lambda: IntakeConnection(self._window, self._outbox, sys_topics.on_change),
                url.host or "localhost",
                url.port or (8883 if context else 1883),
                ssl=context,
            )
            try:
                self._before_connect()
                connection.send(
                    mqtt5.ConnectPacket(
                        self._login.client_id,
                        username=self._login.username,
                        password=self._login.password,
                        clean_start=False,
                        keep_alive=settings.keep_alive_s,
                        session_expiry_interval=settings.session_expiry_s,
                        receive_max=settings.receive_maximum,
                    )
                )
                granted = await connection.connack
                check(granted, settings)
                await self._subscribe(connection)
            except BaseException:  # an attempt that is cancelled, too, must leave no session open
                connection.abort("not accepted")
                raise
        metrics.MQTT_CONNECTS.labels("yes" if granted.session_present else "no").inc()
        certificates.served(transport.get_extra_info("peercert"))
        log.info("connected to the broker", session_present=granted.session_present)
        connection.begin_publishing(min(UNDER_WAY, granted.receive_max))
        self._on_connect(granted.session_present)
        return connection

    async def _subscribe(self, connection: IntakeConnection) -> None:
        """Subscribe, on every connect: a broker that lost the session (in a crash without a fresh save) lost the
        subscriptions too. Where they still exist, the broker does not send the retained statuses again."""
        group = self._settings.shared_group
        patterns = [f"$share/{group}/{pattern}" if group else pattern for pattern in SUBSCRIPTIONS]
        filters = [
            mqtt5.TopicFilter(
                pattern,
                max_qos=mqtt5.QoS.AT_LEAST_ONCE,
                retain_handling=mqtt5.RetainHandling.SEND_IF_SUBSCRIPTION_NOT_EXISTS,
            )
            for pattern in patterns
        ]
        said = [mqtt5.TopicFilter(topic, max_qos=mqtt5.QoS.AT_MOST_ONCE) for topic in sys_topics.TOPICS]
        connection.send(mqtt5.SubscribePacket(1, [*filters, *said]))
        codes = (await connection.suback).reason_codes
        for pattern, code in zip(patterns, codes, strict=False):
            if code != mqtt5.SubAckReasonCode.GRANTED_QOS_AT_LEAST_ONCE:
                raise BrokerRefused(f"SUBSCRIBE {pattern} refused: {code.name}")
        refused = {code.name for code in codes[len(SUBSCRIPTIONS) :] if int(code) >= REFUSED}
        if refused:
            log.warning("the broker refuses subscriptions to its figures", topics=sys_topics.TOPICS, reasons=refused)


def check(granted: mqtt5.ConnAckPacket, settings: Settings) -> None:
    """Raise BrokerRefused, which says what to change, if the broker grants less than the gateway needs."""
    if granted.reason_code != mqtt5.ConnAckReasonCode.SUCCESS:
        raise BrokerRefused(f"CONNECT refused: {granted.reason_code.name}")
    if granted.max_qos == mqtt5.QoS.AT_MOST_ONCE:
        raise BrokerRefused("the broker allows QoS 0 only: nothing would be acknowledged; set max_qos 2 there")
    if not granted.retain_available:
        raise BrokerRefused("the broker does not retain messages: receipts need it; set retain_available true there")
    if not granted.wildcard_subscription_available:
        raise BrokerRefused("the broker allows no wildcard subscriptions: they are how telemetry is received")
    kept = granted.session_expiry_interval
    if kept is not None and kept < settings.session_expiry_s:
        raise BrokerRefused(
            f"the broker keeps the session for {kept} s, not for BIOGATE_SESSION_EXPIRY_S={settings.session_expiry_s}: "
            "raise persistent_client_expiration there, or lower it here"
        )
