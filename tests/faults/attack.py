"""Clients that mean harm: they publish again what they overheard, or what nobody can read."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Iterable

import msgpack
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from schema.topics import Kind, topic
from tests.processes import wait_until

POISONER = "poisoner"


def overhear(port: int, seconds: float) -> list[tuple[str, bytes]]:
    """Topic and payload of all telemetry that is published in that time."""
    heard: list[tuple[str, bytes]] = []
    client = _client(port, "eavesdropper")
    client.on_message = lambda _client, _data, message: heard.append((message.topic, bytes(message.payload)))
    client.subscribe("bioreactors/+/telemetry", qos=1)
    time.sleep(seconds)
    _leave(client)
    return heard


def publish(port: int, messages: Iterable[tuple[str, bytes]]) -> int:
    """All of them as fast as the broker takes them; how many, when it has acknowledged the last."""
    client, count, acknowledged = _client(port, "attacker"), 0, 0

    def on_publish(*_: object) -> None:
        nonlocal acknowledged
        acknowledged += 1

    client.on_publish = on_publish
    for name, payload in messages:
        client.publish(name, payload, qos=1)
        count += 1
        while count - acknowledged > 5000:
            time.sleep(0.005)
    wait_until(lambda: acknowledged == count, 120)
    _leave(client)
    return count


class Flood:
    """Poison from one device as fast as the broker takes it, in a thread, until stopped; by a seed."""

    def __init__(self, port: int, seed: float) -> None:
        self.published = 0
        self._end = threading.Event()
        self._port, self._chance = port, random.Random(seed)
        self._thread = threading.Thread(target=self._run, name="flood", daemon=True)
        self._thread.start()

    def stop(self) -> int:
        """How many messages there were, when the broker has acknowledged the last."""
        self._end.set()
        self._thread.join(150)
        assert self.published, "the flood broke off"
        return self.published

    def _run(self) -> None:
        def until_stopped() -> Iterable[tuple[str, bytes]]:
            while not self._end.is_set():
                yield poison(self._chance)

        self.published = publish(self._port, until_stopped())


def poison(chance: random.Random) -> tuple[str, bytes]:
    """A topic of one device, and what no healthy device would publish there."""
    kind = chance.choice([Kind.TELEMETRY, Kind.TELEMETRY, Kind.HISTORY, Kind.STATUS, Kind.EVENT, Kind.BACKFILL_RESULT])
    return topic(POISONER, kind), _poison(chance)


def _poison(chance: random.Random) -> bytes:
    now = int(time.time() * 1000)
    frame = {"boot": 1, "seq": chance.randrange(2**40), "t": now, "v": {"ph": chance.random(), "temperature": 37.0}}
    match chance.randrange(10):
        case 0:  # noise
            return chance.randbytes(chance.randrange(1, 400))
        case 1:  # cut off
            whole: bytes = msgpack.packb(frame)
            return whole[: chance.randrange(1, len(whole))]
        case 2:  # a bit has flipped
            flipped = bytearray(msgpack.packb(frame))
            flipped[chance.randrange(len(flipped))] ^= 1 << chance.randrange(8)
            return bytes(flipped)
        case 3:  # another type than the field's
            field = chance.choice(["boot", "seq", "t", "v"])
            return json.dumps(frame | {field: chance.choice(["x", None, [], {"a": []}, -1, 2**70, True])}).encode()
        case 4:  # a time out of all bounds
            return json.dumps(frame | {"t": now + chance.choice([-1, 1]) * 10 ** chance.randrange(11, 16)}).encode()
        case 5:  # nested beyond reason
            return b"[" * chance.randrange(1000, 20_000)
        case 6:  # names that are none
            return json.dumps(frame | {"v": {chance.choice(["", "\0", "x" * 500, "\x1b[2J"]): 1.0}}).encode()
        case 7:  # more channels than any device has
            return bytes(msgpack.packb(frame | {"v": {f"c{n}": 1.0 for n in range(chance.randrange(257, 600))}}))
        case 8:  # a block that does not fit together
            return bytes(msgpack.packb({"boot": 1, "seq": 0, "ch": ["a", "b"], "t": [now] * 3, "v": [[1.0]] * 2}))
    return b"\xc1" * chance.randrange(1, 30_000)  # never used in MessagePack


def _client(port: int, name: str) -> paho.Client:
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id=name, protocol=MQTTProtocolVersion.MQTTv5)
    client.max_inflight_messages_set(2000)
    client.max_queued_messages_set(0)
    client.connect("127.0.0.1", port)
    client.loop_start()
    wait_until(client.is_connected, 10)
    return client


def _leave(client: paho.Client) -> None:
    client.disconnect()
    client.loop_stop()
