"""Packets laid out as columns are what any MQTT, MessagePack and JSON library reads."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import mqtt5
import msgpack
import numpy as np
import pytest

from tests.bench.load import Times, acknowledgements
from tests.bench.packets import LAST_ID, Packets, Shape

TOPICS = ["bioreactors/a1/telemetry", "bioreactors/a2/telemetry"]
READ: dict[str, Callable[[bytes], Any]] = {"msgpack": msgpack.unpackb, "json": json.loads}


def messages(packets: Packets, device: int) -> list[mqtt5.PublishPacket]:
    view, found = packets.view(device), []
    while view:
        packet, size = mqtt5.read(view)
        assert isinstance(packet, mqtt5.PublishPacket)
        found.append(packet)
        view = view[size:]
    return found


@pytest.mark.parametrize("form", ["msgpack", "json"])
@pytest.mark.parametrize("channels", [1, 15, 16, 100])
@pytest.mark.parametrize("block", [1, 2, 100])
def test_every_packet_is_a_message_of_the_contract(form: Any, channels: int, block: int) -> None:
    shape = Shape(form, channels, block)
    packets = Packets(shape, TOPICS, 3, boot=7)
    times = 1_763_600_000_000 + np.arange(3 * block, dtype=np.float64).reshape(3, block) * 0.125
    packets.number(1, 40, times)
    found = messages(packets, 1)
    assert [packet.packet_id for packet in found] == [41, 42, 43]
    for n, packet in enumerate(found):
        content = READ[form](packet.payload)
        assert packet.topic == TOPICS[1]
        assert packet.qos == mqtt5.QoS.AT_LEAST_ONCE
        assert (content["boot"], content["seq"]) == (7, (40 + n) * block)
        np.testing.assert_allclose(np.atleast_1d(content["t"]), times[n], rtol=0, atol=0.0006)
        values = [content["v"].values()] if block == 1 else content["v"]
        assert list(content["v"] if block == 1 else content["ch"]) == shape.names
        assert np.shape([list(row) for row in values]) == (block, channels)
        assert all(20 <= value <= 80 for row in values for value in row)


def test_packet_ids_begin_again_at_one() -> None:
    packets = Packets(Shape(), TOPICS, 2)
    packets.number(0, LAST_ID - 1, np.zeros((2, 1)))
    assert [packet.packet_id for packet in messages(packets, 0)] == [LAST_ID, 1]


def test_devices_have_different_values_and_the_same_seed_the_same() -> None:
    one, same = (Packets(Shape(), TOPICS, 1, seed=5) for _ in range(2))
    assert bytes(one.view(0))[60:] != bytes(one.view(1))[60:]
    assert bytes(one.view(0)) == bytes(same.view(0))


PUBACK = b"\x40\x02\x00\x01"
NOBODY_LISTENS = b"\x40\x03\x00\x01\x10"
RECEIPT = mqtt5.PublishPacket("bioreactors/a1/receipt", b"[[1, 5]]").write()


@pytest.mark.parametrize(
    ("data", "count", "used"),
    [
        (b"", 0, 0),
        (PUBACK * 3, 3, 12),
        (PUBACK * 3 + PUBACK[:3], 3, 12),
        (NOBODY_LISTENS * 4, 4, 20),
        (PUBACK + RECEIPT + PUBACK, 2, 8 + len(RECEIPT)),
        (PUBACK + RECEIPT[:-1], 1, 4),
        (RECEIPT[:1], 0, 0),
    ],
)
def test_acknowledgements_are_counted_among_other_packets(data: bytes, count: int, used: int) -> None:
    assert acknowledgements(data) == (count, used)


def test_a_refusal_ends_the_load() -> None:
    with pytest.raises(ConnectionError, match="NOT_AUTHORIZED"):
        acknowledgements(b"\x40\x03\x00\x01\x87")


def test_devices_take_turns() -> None:
    times = Times(rate=1000, devices=4, shape=Shape(), kept=2)
    times.begun_ms = 0
    assert [times.of(device, 0)[:, 0].tolist() for device in range(4)] == [[0, 4], [1, 5], [2, 6], [3, 7]]
    assert times.due(4, -1).tolist() == [0, 0, 0, 0]
    assert times.due(4, 2.5).tolist() == [1, 1, 1, 0]
    assert times.due(4, 5.5).tolist() == [2, 2, 1, 1]


def test_frames_of_a_block_lie_between_it_and_the_next() -> None:
    times = Times(rate=10, devices=1, shape=Shape(block=4), kept=2)
    times.begun_ms = 0
    assert times.of(0, 1).tolist() == [[100, 125, 150, 175], [200, 225, 250, 275]]
