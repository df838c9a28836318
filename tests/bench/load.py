"""The load, a process of its own: `python -m tests.bench.load --port 1883 --messages 300000`.

One connection a device on one epoll loop, QoS 1, packets laid out beforehand; `--rate` messages a second in all, each
device at its own regular moments, or as fast as the broker takes them. Speaks JSON lines: "ready" when all are
connected and have published `--warm-up` messages each; waits for a line; at the end what was acknowledged.
"""

from __future__ import annotations

import json
import os
import select
import socket
import sys
import time
from collections.abc import Sequence
from typing import Annotated, Literal, cast

import mqtt5
import numpy as np
import typer
from numpy.typing import NDArray

from schema.topics import Down, Kind, topic
from tests.bench.packets import Floats, Packets, Shape

IN_FLIGHT = 100_000
"""Messages that may be unacknowledged in all, so far as the broker's receive maximum allows."""
KEPT_BYTES = 2**29
"""Packets laid out beforehand; of a longer load, times and numbers are written anew each time round."""
KEEP_ALIVE_S = 200
"""Not max_keepalive or more: Mosquitto 2.0.21 disconnects such clients at once while they publish (mosquitto #3226)."""
TICK_S, READ_S = 0.002, 0.1
"""How often a load with a rate looks what is due, and what is acknowledged."""
SILENCE_S = 60
"""Without any acknowledgement for so long the load gives up."""
TAKEN = (mqtt5.PubAckReasonCode.SUCCESS, mqtt5.PubAckReasonCode.NO_MATCHING_SUBSCRIBERS)
PUBACK, PUBACK_LENGTH = b"\x40", b"\x02"


class Connection:
    """A device: what it may send, has sent, and has been acknowledged, in bytes and messages."""

    def __init__(self, number: int, packets: Packets, sock: socket.socket, window: int, partial: bytes) -> None:
        self.number, self.sock, self.window = number, sock, window
        self.acknowledged = self.sent = 0
        self._packets = packets
        self._view = packets.view(number)
        self._bytes = self._begin = 0
        self._partial = partial

    def pump(self, until: int, times: Times) -> None:
        """Hand messages to the kernel, up to number `until`, as far as window and buffers go."""
        size = self._packets.size
        limit = min(until, self.acknowledged + self.window) * size
        while self._bytes < limit:
            if self._bytes - self._begin == len(self._view):
                self._begin = self._bytes
                self._packets.number(self.number, self._begin // size, times.of(self.number, self._begin // size))
            end = min(limit - self._begin, len(self._view))
            try:
                self._bytes += self.sock.send(self._view[self._bytes - self._begin : end])
            except BlockingIOError:
                break
        self.sent = self._bytes // size

    def read(self) -> None:
        """Count acknowledgements; what else comes (receipts) is read over."""
        data = self._partial + self.sock.recv(2**18)
        if len(data) == len(self._partial):
            raise ConnectionError(f"the broker has closed the connection of device {self.number}")
        acknowledged, used = acknowledgements(data)
        self._partial = data[used:]
        self.acknowledged += acknowledged


def acknowledgements(data: bytes) -> tuple[int, int]:
    """PUBACKs among the whole packets at the start of `data`, and the bytes of these packets."""
    count = len(data) // 4
    if data[: count * 4 : 4] == PUBACK * count and data[1 : count * 4 : 4] == PUBACK_LENGTH * count:
        return count, count * 4
    count = at = 0
    while len(data) - at >= 2:
        try:
            packet, size = mqtt5.read(memoryview(data)[at:])
        except IndexError:  # incomplete
            break
        if isinstance(packet, mqtt5.PubAckPacket):
            if packet.reason_code not in TAKEN:
                raise ConnectionError(f"refused: {packet.reason_code.name}")
            count += 1
        elif isinstance(packet, mqtt5.DisconnectPacket):
            raise ConnectionError(f"the broker has disconnected us: {packet.reason_code.name}")
        at += size
    return count, at


class Times:
    """When message n of a device is due, and so the times in it. In ms since 1970, for `rate` messages/s in all."""

    def __init__(self, rate: float, devices: int, shape: Shape, kept: int) -> None:
        self.begun_ms = time.time() * 1000
        self._step_ms = devices * 1000 / rate
        self._offset_ms = 1000 / rate
        self._within = np.arange(kept)[:, np.newaxis] + np.arange(shape.block) / shape.block

    def of(self, device: int, first: int) -> Floats:
        """Of the packets of a device whose first is message `first`, shape (kept, block)."""
        times: Floats = self.begun_ms + device * self._offset_ms + (first + self._within) * self._step_ms
        return times

    def due(self, devices: int, now_ms: float) -> NDArray[np.int64]:
        """How many messages each device should have published by now, counted from the begin."""
        behind = now_ms - self.begun_ms - np.arange(devices) * self._offset_ms
        due: NDArray[np.int64] = np.maximum(np.floor(behind / self._step_ms).astype(np.int64) + 1, 0)
        return due


class Load:
    def __init__(self, connections: Sequence[Connection], packets: Packets, times: Times) -> None:
        self._connections, self._packets, self._times = connections, packets, times
        self._poll = select.epoll()
        self._by_fd = {connection.sock.fileno(): connection for connection in connections}
        self._heard = time.monotonic()
        self._base = 0
        for fd in self._by_fd:
            self._poll.register(fd, select.EPOLLIN)

    def lay_out(self) -> None:
        """Number all packets from 0."""
        for connection in self._connections:
            self._packets.number(connection.number, 0, self._times.of(connection.number, 0))

    def at_full_speed(self, until: int) -> float:
        """Publish up to message `until` of each device; the moment at which the last was handed to the kernel."""
        pause = min(max(len(self._connections) / 20_000, 0.01), 0.25)  # so that acknowledgements come in numbers
        begun = self._heard = time.monotonic()
        sent_at = 0.0
        left = set(self._connections)
        while left:
            for connection in list(left):
                if connection.sent < until:
                    connection.pump(until, self._times)
                elif connection.acknowledged >= until:
                    left.discard(connection)
            if not sent_at and all(connection.sent >= until for connection in left):
                sent_at = time.monotonic()
            time.sleep(pause)
            self._read()
        return sent_at or begun

    def on_time(self, first: int, until: int) -> float:
        """The same, each message when it is due. Message `first` of each is due from now on."""
        devices = len(self._connections)
        sent = np.full(devices, first)
        self._times.begun_ms = time.time() * 1000 + 200 - self._times.of(0, first)[0, 0] + self._times.begun_ms
        for connection in self._connections:
            self._packets.number(connection.number, 0, self._times.of(connection.number, 0))
        self._heard = time.monotonic()
        read_at = sent_at = 0.0
        while not all(connection.acknowledged >= until for connection in self._connections):
            due = np.minimum(self._times.due(devices, time.time() * 1000), until)
            for n in np.flatnonzero(due > sent).tolist():
                connection = self._connections[n]
                connection.pump(int(due[n]), self._times)
                sent[n] = connection.sent
            if not sent_at and sent.min() >= until:
                sent_at = time.monotonic()
            if time.monotonic() - read_at > READ_S:
                self._read()
                read_at = time.monotonic()
            time.sleep(TICK_S)
        return sent_at

    def _read(self) -> None:
        for fd, _ in self._poll.poll(0):
            self._by_fd[fd].read()
            self._heard = time.monotonic()
        if time.monotonic() - self._heard > SILENCE_S:
            raise TimeoutError(f"no acknowledgement for {SILENCE_S} s")


def connect(port: int, name: str, password: str | None) -> tuple[socket.socket, int, bytes]:
    """A connection that is subscribed to what the device is told, the broker's receive maximum, and what came since."""
    sock = socket.create_connection(("127.0.0.1", port), timeout=30)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    username, secret = (None, None) if password is None else (f"{name}.1", password.encode())
    login = mqtt5.ConnectPacket(
        f"load-{name}", username=username, password=secret, keep_alive=KEEP_ALIVE_S, clean_start=True
    )
    sock.sendall(login.write())
    granted, _ = mqtt5.read(memoryview(sock.recv(1024)))
    assert isinstance(granted, mqtt5.ConnAckPacket)
    if granted.reason_code != mqtt5.ConnAckReasonCode.SUCCESS:
        raise ConnectionError(f"{name}: CONNECT refused: {granted.reason_code.name}")
    told = [mqtt5.TopicFilter(topic(name, kind), max_qos=mqtt5.QoS.AT_MOST_ONCE) for kind in Down]
    sock.sendall(mqtt5.SubscribePacket(1, told).write())
    data = sock.recv(1024)
    answer, size = mqtt5.read(memoryview(data))
    assert isinstance(answer, mqtt5.SubAckPacket)
    if any(code != mqtt5.SubAckReasonCode.GRANTED_QOS_AT_MOST_ONCE for code in answer.reason_codes):
        raise ConnectionError(f"{name}: SUBSCRIBE refused")
    sock.setblocking(False)
    return sock, granted.receive_max, data[size:]


def main(
    port: Annotated[int, typer.Option(help="of the broker on loopback")],
    devices: Annotated[int, typer.Option(min=1)] = 500,
    messages: Annotated[int, typer.Option(help="of all devices, beside the warm-up")] = 300_000,
    rate: Annotated[float, typer.Option(help="messages a second, of all devices; 0: full speed")] = 0,
    nominal: Annotated[float, typer.Option(help="at full speed: the rate that the times in the frames have")] = 40_000,
    warm_up: Annotated[int, typer.Option(help="messages of each device before it is ready")] = 0,
    form: str = "msgpack",
    channels: int = 20,
    block: int = 1,
    boot: int = 1,
    prefix: str = "load-",
    password: Annotated[str | None, typer.Option(help="of all logins, `DEVICE.1`; none: no logins")] = None,
) -> None:
    """Publish, and say how much."""
    shape = Shape(cast(Literal["msgpack", "json"], form), channels, block)
    names = [f"{prefix}{n:05d}" for n in range(devices)]
    until = warm_up + messages // devices
    topics = [topic(name, Kind.TELEMETRY) for name in names]
    size = Packets(shape, topics[:1], 1).size
    packets = Packets(shape, topics, max(1, warm_up, min(until, KEPT_BYTES // size // devices)), boot)
    connections = []
    for n, name in enumerate(names):
        sock, receive_max, rest = connect(port, name, password)
        connections.append(Connection(n, packets, sock, min(receive_max, max(IN_FLIGHT // devices, 10)), rest))
    times = Times(rate or nominal, devices, shape, packets.kept)
    load = Load(connections, packets, times)
    load.lay_out()
    load.at_full_speed(warm_up)
    print(json.dumps({"ready": devices * warm_up, "packet_bytes": size}), flush=True)
    if not sys.stdin.readline():
        raise typer.Exit(1)
    begun, used = time.monotonic(), os.times()
    published_at = load.on_time(warm_up, until) if rate else load.at_full_speed(until)
    acknowledged_at, after = time.monotonic(), os.times()
    said = {
        "published": sum(connection.sent for connection in connections),
        "acknowledged": sum(connection.acknowledged for connection in connections),
        "begun": begun,
        "publish_s": published_at - begun,
        "acknowledge_s": acknowledged_at - begun,
        "cpu_s": after.user + after.system - used.user - used.system,
    }
    print(json.dumps(said), flush=True)
    sys.stdin.readline()  # stay connected until nobody needs us any more


if __name__ == "__main__":
    typer.run(main)
