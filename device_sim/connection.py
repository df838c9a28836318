"""An MQTT 5 connection of a device: the Rust codec `mqtt5` under a plain asyncio protocol.

It handles packets, the broker's window and the keep-alive; what to send, and what again, is for the caller to decide.
"""

from __future__ import annotations

import asyncio
import ssl
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar, cast
from urllib.parse import urlsplit

import mqtt5

KEEP_ALIVE = 60
TIMEOUT = 10.0
LAST_PACKET_ID = 65_535
UNKNOWN_LOGIN = (
    mqtt5.ConnAckReasonCode.NOT_AUTHORIZED,
    mqtt5.ConnAckReasonCode.BAD_USER_NAME_OR_PASSWORD,
    mqtt5.ConnAckReasonCode.CLIENT_ID_NOT_VALID,
)
ACCEPTED = (mqtt5.PubAckReasonCode.SUCCESS, mqtt5.PubAckReasonCode.NO_MATCHING_SUBSCRIBERS)
"""The broker has stored a retained message when it answers so."""

Acknowledged = Callable[[int, mqtt5.PubAckReasonCode], None]
Received = Callable[[str, bytes], None]

T = TypeVar("T")


class ConnectionFailed(Exception):
    """Raised when the broker could not be reached, refused the connection, broke the protocol or went away."""


class NotAuthorized(ConnectionFailed):
    """Raised when the broker does not know this login, or does not let it do what a device must."""


@dataclass(frozen=True)
class Broker:
    host: str
    port: int
    tls: ssl.SSLContext | None
    username: str | None
    password: str | None = field(repr=False)

    @classmethod
    def at(
        cls, url: str, username: str | None, password: str | None, tls: Callable[[], ssl.SSLContext] | None = None
    ) -> Broker:
        """The broker at a URL; `tls` makes the context for mqtts, default: the machine's CAs. Raises ValueError."""
        parts = urlsplit(url)
        if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname:
            raise ValueError(f"not an address like mqtt://host:port or mqtts://host:port: {url}")
        context = (tls or tls_context)() if parts.scheme == "mqtts" else None
        return cls(parts.hostname, parts.port or (8883 if context else 1883), context, username, password)


def tls_context(ca: Path | None = None, certificate: bytes = b"") -> ssl.SSLContext:
    """A context for TLS 1.2 or newer, in which `ca` must have signed the broker's certificate. `certificate` is our own
    with its key, PEM. Raises OSError, ssl.SSLError."""
    context = ssl.create_default_context(cafile=ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if certificate:
        with tempfile.NamedTemporaryFile() as file:  # ssl loads it from a file alone; no other user may read it
            file.write(certificate)
            file.flush()
            context.load_cert_chain(file.name)
    return context


class DeviceConnection(asyncio.Protocol):
    """One connection. When it is lost, `closed` is done and the object is of no more use."""

    def __init__(self, acknowledged: Acknowledged, received: Received, ready: Callable[[], None]) -> None:
        """`acknowledged` gets every PUBACK, `received` topic and payload of every message; `ready` is called when there
        may be room to send again."""
        loop = asyncio.get_running_loop()
        self.closed: asyncio.Future[ConnectionFailed] = loop.create_future()
        self._connack: asyncio.Future[mqtt5.ConnAckPacket] = loop.create_future()
        self._suback: asyncio.Future[mqtt5.SubAckPacket] = loop.create_future()
        self._acknowledged, self._received, self._ready = acknowledged, received, ready
        self._transport: asyncio.Transport
        self._unread = bytearray()
        self._outgoing: list[bytes] = []
        self._window = 0
        self._in_flight: set[int] = set()
        self._packet_id = 0
        self._blocked = False
        self._reason = ConnectionFailed("the broker closed the connection")
        self._keep_alive = KEEP_ALIVE
        self._heard = self._spoke = time.monotonic()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def room(self) -> int:
        """The number of messages that may be published now: the broker's Receive Maximum, less what is in flight."""
        if self._blocked or self._transport.is_closing():
            return 0
        return self._window - len(self._in_flight)

    def publish(self, topic: str, payload: bytes, *, content_type: str, retain: bool = False) -> int:
        """Add a QoS 1 message to the next flush; return its packet id. There must be room."""
        assert self.room > 0, "publish without room"
        self._packet_id = self._packet_id % LAST_PACKET_ID + 1
        while self._packet_id in self._in_flight:
            self._packet_id = self._packet_id % LAST_PACKET_ID + 1
        packet = mqtt5.PublishPacket(
            topic,
            payload,
            qos=mqtt5.QoS.AT_LEAST_ONCE,
            packet_id=self._packet_id,
            content_type=content_type,
            retain=retain,
        )
        self._in_flight.add(self._packet_id)
        self._outgoing.append(packet.write())
        return self._packet_id

    def flush(self) -> None:
        if self._outgoing and not self._transport.is_closing():
            self._write(b"".join(self._outgoing))
        self._outgoing.clear()

    def disconnect(self) -> None:
        """Disconnect for good: the broker forgets the will."""
        if not self._transport.is_closing():
            self.flush()
            self._write(mqtt5.DisconnectPacket().write())
            self._fail("we disconnected")

    def abort(self) -> None:
        """Cut the connection: the broker publishes the will."""
        if not self.closed.done():
            self._reason = ConnectionFailed("we cut the connection")
            self._transport.abort()

    async def handshake(self, packet: mqtt5.ConnectPacket, topics: Sequence[str]) -> None:
        self._write(packet.write())
        connack = await self._answer(self._connack)
        if connack.reason_code != mqtt5.ConnAckReasonCode.SUCCESS:
            refused = NotAuthorized if connack.reason_code in UNKNOWN_LOGIN else ConnectionFailed
            raise refused(f"refused by the broker: {connack.reason_code.name}")
        self._window = connack.receive_max
        if connack.server_keep_alive is not None:
            self._keep_alive = connack.server_keep_alive
        if self._keep_alive:
            self._check_alive()
        if not topics:
            return
        filters = [mqtt5.TopicFilter(topic, max_qos=mqtt5.QoS.AT_LEAST_ONCE) for topic in topics]
        self._write(mqtt5.SubscribePacket(LAST_PACKET_ID, filters).write())
        for topic, code in zip(topics, (await self._answer(self._suback)).reason_codes, strict=True):
            if code != mqtt5.SubAckReasonCode.GRANTED_QOS_AT_LEAST_ONCE:
                refused = NotAuthorized if code == mqtt5.SubAckReasonCode.NOT_AUTHORIZED else ConnectionFailed
                raise refused(f"subscription to {topic} refused by the broker: {code.name}")
        if self._transport.is_closing():
            raise ConnectionFailed("the connection was lost at once")

    async def _answer(self, answer: asyncio.Future[T]) -> T:
        await asyncio.wait((answer, self.closed), return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            raise self.closed.result()
        return answer.result()

    # Callbacks of asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass of it

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer:
            self._timer.cancel()
        if self.closed.done():
            return
        if exc and not isinstance(exc, OSError):
            self.closed.set_exception(exc)  # a defect: asyncio would only log it, and we would reconnect for ever
            return
        if exc:
            self._reason = ConnectionFailed(f"connection lost: {exc}")
        self.closed.set_result(self._reason)

    def pause_writing(self) -> None:
        self._blocked = True

    def resume_writing(self) -> None:
        self._blocked = False
        self._ready()

    def data_received(self, data: bytes) -> None:
        if self._transport.is_closing():
            return  # TLS goes on reading until the peer has closed, too
        self._heard = time.monotonic()
        self._unread += data
        packets, defect = take_packets(self._unread)
        if defect:
            self._fail(f"unreadable packet from the broker: {defect}")
        for packet in packets:
            self._handle(packet)
        self.flush()
        self._ready()

    # Packets

    def _handle(self, packet: mqtt5.Packet) -> None:
        match packet:
            case mqtt5.PubAckPacket():
                self._in_flight.discard(packet.packet_id)
                self._acknowledged(packet.packet_id, packet.reason_code)
            case mqtt5.PublishPacket():
                if packet.packet_id is not None:
                    self._outgoing.append(mqtt5.PubAckPacket(packet.packet_id).write())
                self._received(packet.topic, packet.payload)
            case mqtt5.SubAckPacket() if not self._suback.done():
                self._suback.set_result(packet)
            case mqtt5.ConnAckPacket() if not self._connack.done():
                self._connack.set_result(packet)
            case mqtt5.PingRespPacket():
                pass
            case mqtt5.DisconnectPacket():
                self._fail(f"disconnected by the broker: {packet.reason_code.name}")
            case _:
                self._fail(f"unexpected {type(packet).__name__} from the broker")

    def _fail(self, reason: str) -> None:
        self._reason = ConnectionFailed(reason)
        self._transport.close()

    def _write(self, data: bytes) -> None:
        self._spoke = time.monotonic()
        self._transport.write(data)

    def _check_alive(self) -> None:
        """Ping when the connection is idle; a broker that does not answer a ping is gone."""
        now, half = time.monotonic(), self._keep_alive / 2
        if now - self._heard > 1.5 * self._keep_alive:
            self._reason = ConnectionFailed("no answer within the keep-alive")
            self._transport.abort()
            return
        if now - self._spoke >= half * 0.9 or now - self._heard >= half:
            self._write(mqtt5.PingReqPacket().write())
        self._timer = asyncio.get_running_loop().call_later(half, self._check_alive)


def take_packets(unread: bytearray) -> tuple[list[mqtt5.Packet], str]:
    """Remove the complete packets from `unread`; return them, and what is wrong with the next one, if anything."""
    read, packets, defect = 0, [], ""
    with memoryview(unread) as view:
        try:
            while read < len(view):
                packet, size = mqtt5.read(view[read:])
                read += size
                packets.append(packet)
        except IndexError:
            pass  # the rest of the packet is still to come
        except ValueError as error:
            defect = str(error)
    del unread[:read]  # only now: a bytearray that is viewed cannot shrink
    return packets, defect


async def connect(
    broker: Broker,
    client_id: str,
    will: mqtt5.Will | None,
    topics: Sequence[str],
    *,
    acknowledged: Acknowledged,
    received: Received,
    ready: Callable[[], None],
) -> DeviceConnection:
    """Open a connection, subscribed to `topics`; the broker keeps no session. Raises ConnectionFailed."""
    packet = mqtt5.ConnectPacket(
        client_id,
        username=broker.username,
        password=broker.password.encode() if broker.password is not None else None,
        clean_start=True,
        will=will,
        keep_alive=KEEP_ALIVE,
    )
    where = f"{broker.host}:{broker.port}"
    try:
        async with asyncio.timeout(TIMEOUT):
            _, connection = await asyncio.get_running_loop().create_connection(
                lambda: DeviceConnection(acknowledged, received, ready), broker.host, broker.port, ssl=broker.tls
            )
            try:
                await connection.handshake(packet, topics)
            except BaseException:  # an attempt that is cancelled, too, must leave no socket
                connection.abort()
                raise
    except TimeoutError as error:
        raise ConnectionFailed(f"cannot connect to {where}: no answer in {TIMEOUT:g} s") from error
    except OSError as error:
        raise ConnectionFailed(f"cannot connect to {where}: {error}") from error
    return connection
