"""An MQTT 5 client that shows every code the broker answers with, and lets the caller do what no honest one would."""

from __future__ import annotations

import asyncio
import itertools
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import mqtt5

from device_sim.connection import take_packets

HOST = "127.0.0.1"
PATIENCE_S = 20.0
NOT_AUTHORIZED = 0x87
BAD_LOGIN = 0x86


class Refused(Exception):
    """The broker does not let us in; `code` is CONNACK's, 0 if it just hung up."""

    def __init__(self, code: int) -> None:
        super().__init__(f"refused with {code:#04x}")
        self.code = code


@dataclass(frozen=True)
class Message:
    topic: str
    payload: bytes
    retain: bool


def tls(authority: Path, certificate: tuple[Path, Path] | None = None) -> ssl.SSLContext:
    """TLS 1.2 or newer that trusts this authority alone; `certificate` and its key for those who have one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(authority)
    if certificate is not None:
        context.load_cert_chain(*certificate)
    return context


class Client(asyncio.Protocol):
    """Use `connect`. `ended` is done when the connection is, with the reason code of a DISCONNECT, or 0."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.messages: asyncio.Queue[Message] = asyncio.Queue()
        self.ended: asyncio.Future[int] = loop.create_future()
        self.ended_at = 0.0
        self._connack: asyncio.Future[int] = loop.create_future()
        self._answers: dict[int, asyncio.Future[list[int]]] = {}
        self._numbers = itertools.cycle(range(1, 65536))
        self._unread = bytearray()
        self._farewell = 0
        self._transport: asyncio.Transport | None = None

    @classmethod
    async def connect(
        cls,
        port: int,
        client_id: str,
        username: str | None = None,
        password: str | None = None,
        *,
        context: ssl.SSLContext | None = None,
        clean: bool = True,
        expiry_s: int = 0,
        will: mqtt5.Will | None = None,
    ) -> Self:
        """Raises Refused, OSError (nobody there, TLS failed) and TimeoutError."""
        async with asyncio.timeout(PATIENCE_S):
            name = "localhost" if context else None
            _, client = await asyncio.get_running_loop().create_connection(
                cls, HOST, port, ssl=context, server_hostname=name
            )
            packet = mqtt5.ConnectPacket(
                client_id,
                username=username,
                password=password.encode() if password is not None else None,
                clean_start=clean,
                session_expiry_interval=expiry_s,
                keep_alive=60,
                will=will,
            )
            client._write(packet.write())
            code = await client._connack
        if code:
            client.abort()
            raise Refused(code)
        return client

    async def subscribe(self, *filters: str, qos: int = 1) -> list[int]:
        """The reason code of each filter: the QoS granted, or an error."""
        wanted = [mqtt5.TopicFilter(pattern, max_qos=mqtt5.QoS(qos)) for pattern in filters]
        return await self._ask(lambda number: mqtt5.SubscribePacket(number, wanted).write())

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> int:
        """At QoS 1; the reason code of its PUBACK."""
        codes = await self._ask(
            lambda number: mqtt5.PublishPacket(
                topic, payload, qos=mqtt5.QoS.AT_LEAST_ONCE, retain=retain, packet_id=number
            ).write()
        )
        return codes[0]

    def shout(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """At QoS 0, without waiting for anything."""
        self._write(mqtt5.PublishPacket(topic, payload, retain=retain).write())

    async def next(self, timeout_s: float = PATIENCE_S) -> Message:
        """The next message. Raises TimeoutError, and ConnectionError when the connection has ended."""
        getting = asyncio.ensure_future(self.messages.get())
        waiting: set[asyncio.Future[Any]] = {getting, self.ended}
        await asyncio.wait(waiting, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if getting.done():
            return getting.result()
        getting.cancel()
        if self.ended.done():
            raise ConnectionError(f"disconnected with {self.ended.result():#04x}")
        raise TimeoutError(f"nothing came in {timeout_s:g} s")

    async def close(self) -> None:
        """DISCONNECT in order."""
        if not self.ended.done():
            self._write(mqtt5.DisconnectPacket().write())
            await asyncio.wait([self.ended], timeout=2)
        self.abort()

    def abort(self) -> None:
        """Gone without a word."""
        if not self.ended.done():
            self.ended.set_result(0)
        if self._transport is not None:
            self._transport.abort()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # -- what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self.ended_at = asyncio.get_running_loop().time()
        if not self.ended.done():
            self.ended.set_result(self._farewell)
        if not self._connack.done():
            self._connack.set_exception(Refused(0))
            self._connack.exception()  # retrieved: nobody may be waiting
        for waiting in self._answers.values():
            if not waiting.done():
                waiting.set_exception(ConnectionError(f"disconnected with {self._farewell:#04x}"))
                waiting.exception()

    def data_received(self, data: bytes) -> None:
        self._unread += data
        packets, defect = take_packets(self._unread)
        for packet in packets:
            self._take(packet)
        assert not defect, defect

    def _take(self, packet: mqtt5.Packet) -> None:
        match packet:
            case mqtt5.ConnAckPacket():
                self._connack.set_result(int(packet.reason_code))
            case mqtt5.PublishPacket():
                self.messages.put_nowait(Message(packet.topic, packet.payload, packet.retain))
                if packet.packet_id is not None:
                    self._write(mqtt5.PubAckPacket(packet.packet_id).write())
            case mqtt5.PubAckPacket():
                self._answer(packet.packet_id, [int(packet.reason_code)])
            case mqtt5.SubAckPacket():
                self._answer(packet.packet_id, [int(code) for code in packet.reason_codes])
            case mqtt5.DisconnectPacket():
                self._farewell = int(packet.reason_code)

    # -- packets

    async def _ask(self, packet: Callable[[int], bytes]) -> list[int]:
        number = next(self._numbers)
        answer: asyncio.Future[list[int]] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        try:
            if self.ended.done():
                raise ConnectionError("the connection has ended")
            self._write(packet(number))
            async with asyncio.timeout(PATIENCE_S):
                return await answer
        finally:
            del self._answers[number]

    def _answer(self, number: int, codes: list[int]) -> None:
        if (waiting := self._answers.get(number)) is not None and not waiting.done():
            waiting.set_result(codes)

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)
