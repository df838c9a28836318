"""One MQTT 5 connection: it turns bytes into deliveries, and sends acknowledgements when the pipeline says so.

This is a thin layer over the `mqtt5` codec under a plain asyncio protocol: the hot path of intake.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence

import mqtt5
import numpy as np
import structlog

from gateway.broker.outbox import Outbox
from gateway.broker.window import IntakeWindow
from gateway.errors import BrokerRefused
from gateway.items import Delivery

log = structlog.get_logger()

PUBLISH = 3
REFUSED = 0x80
PUBACK = 0x4002  # fixed header and remaining length of a PUBACK with Success

_read = mqtt5.read
_PublishPacket = mqtt5.PublishPacket


class IntakeConnection(asyncio.Protocol):
    """Puts messages into `window`, and gives messages under $SYS to `on_figure` (topic, payload).

    The future `lost` is done when the connection has ended; its result says why.
    """

    def __init__(self, window: IntakeWindow, outbox: Outbox, on_figure: Callable[[str, bytes], None]) -> None:
        loop = asyncio.get_running_loop()
        self.connack: asyncio.Future[mqtt5.ConnAckPacket] = loop.create_future()
        self.suback: asyncio.Future[mqtt5.SubAckPacket] = loop.create_future()
        self.lost: asyncio.Future[str] = loop.create_future()
        self.taken_over = False
        self.reading = True
        self.unacknowledged = 0
        """QoS 1 messages received and not acknowledged; Receive Maximum bounds them."""
        self._window = window
        self._outbox = outbox
        self._on_figure = on_figure
        self._may_publish = 0
        self._draining = False
        self._partial = bytearray()
        self._transport: asyncio.Transport | None = None
        self._heard = loop.time()
        self._farewell: str | None = None

    # -- what the session calls

    def send(self, packet: mqtt5.ConnectPacket | mqtt5.SubscribePacket) -> None:
        self._write(packet.write())

    def acknowledge(self, packet_ids: Sequence[int]) -> None:
        """Send PUBACKs in this order, or nothing if the connection has ended: then the broker will deliver again."""
        packets = np.empty(len(packet_ids), dtype=[("head", ">u2"), ("id", ">u2")])
        packets["head"] = PUBACK
        packets["id"] = packet_ids
        self._write(packets.tobytes())
        self.unacknowledged -= len(packet_ids)

    def begin_publishing(self, most_under_way: int) -> None:
        """Send messages of the outbox from now on, at most so many of them unacknowledged at a time."""
        self._may_publish = most_under_way
        self.publish()

    def publish(self) -> None:
        """Send the messages of the outbox for which there is room."""
        if packets := b"".join(self._outbox.packets(self._may_publish)):
            self._write(packets)

    def pause(self) -> None:
        if self.reading and self._transport is not None:
            self.reading = False
            self._transport.pause_reading()

    def resume(self) -> None:
        if not self.reading and self._transport is not None:
            self.reading = True
            self._heard = asyncio.get_running_loop().time()
            self._transport.resume_reading()

    def drain(self) -> None:
        """Ignore messages that arrive from now on: the broker keeps them. The socket is still read, because a close
        with unread bytes resets the connection and loses acknowledgements."""
        self._draining = True
        self.resume()

    async def disconnect(self, timeout_s: float = 2.0) -> None:
        """Send DISCONNECT and wait for the broker to close its side: then it has read all that was written."""
        if not self.lost.done():
            self._write(mqtt5.DisconnectPacket().write())
            await asyncio.wait([self.lost], timeout=timeout_s)
        self.abort("disconnected")

    def abort(self, why: str) -> None:
        self._farewell = self._farewell or why
        if self._transport is not None:
            self._transport.abort()

    async def keep_alive(self, interval_s: float) -> None:
        """Ping, and abort the connection if nothing arrived for one and a half intervals."""
        loop = asyncio.get_running_loop()
        while not self.lost.done():
            await asyncio.wait([self.lost], timeout=interval_s / 2)
            if self.reading and loop.time() - self._heard > interval_s * 1.5:
                self.abort(f"nothing heard from the broker for {interval_s * 1.5:.0f} s")
            self._write(mqtt5.PingReqPacket().write())

    # -- what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        why = self._farewell or (str(exc) if exc else "closed by the broker")
        self._transport = None
        self._may_publish = 0
        self._outbox.connection_lost()
        if exc is None or isinstance(exc, OSError):
            self.lost.set_result(why)
        else:  # a defect of the gateway: asyncio would only log it, and the session would reconnect for ever
            self.lost.set_exception(exc)
        for waiting in (self.connack, self.suback):
            if not waiting.done():
                waiting.set_exception(BrokerRefused(f"connection lost: {why}"))
                waiting.exception()  # retrieved: nobody may be waiting

    def data_received(self, data: bytes) -> None:
        self._heard = asyncio.get_running_loop().time()
        if not self._partial:
            rest = self._packets(memoryview(data), time.time() * 1000)
            self._partial += data[len(data) - rest :] if rest else b""
        else:
            self._partial += data
            with memoryview(self._partial) as view:
                rest = self._packets(view, time.time() * 1000)
            del self._partial[: len(self._partial) - rest]
        if self._window.full and self.suback.done() and not self._draining:
            self.pause()

    # -- packets

    def _packets(self, view: memoryview, now_ms: float) -> int:
        """Handle all whole packets in `view`; return the number of bytes left over."""
        start, end = 0, len(view)
        arrived: list[Delivery] = []
        while start < end:
            try:
                packet, size = _read(view[start:])
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:  # the codec's panics do not derive from Exception
                try:
                    size = whole_packet(view[start:])
                except ValueError as out_of_step:
                    self.abort(f"unreadable: {out_of_step}")
                    start = end
                    break
                if size == 0:  # the rest of the packet is still on its way
                    break
                why = "a length inside it is wrong" if isinstance(error, IndexError) else str(error)
                arrived += self._unreadable(bytes(view[start : start + size]), now_ms, why)
            else:
                if packet.__class__ is _PublishPacket:
                    if packet.topic[0] == "$":
                        self._on_figure(packet.topic, packet.payload)
                    elif not self._draining:
                        arrived.append(
                            Delivery(
                                self,
                                packet.packet_id or 0,
                                packet.topic,
                                packet.payload,
                                packet.content_type,
                                now_ms,
                                correlation=packet.correlation_data,
                            )
                        )
                else:
                    self._control(packet)
            start += size
        self.unacknowledged += sum([delivery.packet_id > 0 for delivery in arrived])
        self._window.add(*arrived)
        self.publish()  # acknowledgements may have made room
        return end - start

    def _control(self, packet: mqtt5.Packet) -> None:
        match packet:
            case mqtt5.ConnAckPacket() if not self.connack.done():
                self.connack.set_result(packet)
            case mqtt5.PubAckPacket():
                topic = self._outbox.acknowledged(packet.packet_id)
                if int(packet.reason_code) >= REFUSED:
                    log.error("the broker refuses a publication", topic=topic, reason=packet.reason_code.name)
            case mqtt5.SubAckPacket() if not self.suback.done():
                self.suback.set_result(packet)
            case mqtt5.DisconnectPacket():
                self.taken_over = packet.reason_code == mqtt5.DisconnectReasonCode.SESSION_TAKEN_OVER
                self.abort(f"the broker disconnected us: {packet.reason_code.name.lower().replace('_', ' ')}")
            case mqtt5.PingRespPacket():
                pass
            case _:
                self.abort(f"unexpected {type(packet).__name__}")

    def _unreadable(self, packet: bytes, now_ms: float, why: str) -> Iterator[Delivery]:
        """Handle a packet that the codec refuses. A PUBLISH goes to quarantine, or it would come back for ever."""
        if packet[0] >> 4 != PUBLISH:
            self.abort(f"unreadable packet of type {packet[0] >> 4}: {why}")
        elif not self._draining:
            topic, packet_id = salvage(packet)
            yield Delivery(self, packet_id, topic, packet, None, now_ms, why)

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)


def header(packet: bytes | memoryview) -> tuple[int, int] | None:
    """Bytes of the fixed header and of the rest of an MQTT packet; None while the length is incomplete. Raises
    ValueError for an invalid length: nobody can tell where the next packet begins."""
    length = 0
    for i in range(1, 5):
        if i >= len(packet):
            return None
        length |= (packet[i] & 0x7F) << 7 * (i - 1)
        if not packet[i] & 0x80:
            return i + 1, length
    raise ValueError("a length of more than four bytes")


def whole_packet(view: memoryview) -> int:
    """The size in bytes of the packet at the start of `view`; 0 if a part of it is missing."""
    sizes = header(view)
    return 0 if sizes is None or sum(sizes) > len(view) else sum(sizes)


def salvage(packet: bytes) -> tuple[str, int]:
    """Topic and packet id of a PUBLISH that the codec cannot read as a whole."""
    sizes = header(packet)
    start = sizes[0] if sizes else len(packet)
    topic_end = start + 2 + int.from_bytes(packet[start : start + 2], "big")
    topic = packet[start + 2 : topic_end].decode(errors="replace").replace("\0", "�")
    qos = packet[0] >> 1 & 3
    return topic, int.from_bytes(packet[topic_end : topic_end + 2], "big") if qos else 0
