"""Bytes of a broker → deliveries, and acknowledgements → bytes, over a real socket where one matters."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import mqtt5
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.broker import sys_topics
from gateway.broker.connection import IntakeConnection
from gateway.broker.outbox import Outbox
from gateway.broker.window import IntakeWindow
from gateway.errors import BrokerRefused
from gateway.items import Delivery
from tests.gateway.material import until

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the codec's panics

TOPIC = "bioreactors/r1/telemetry"


def publish(packet_id: int, payload: bytes = b"21.5", topic: str = TOPIC, content_type: str | None = None) -> bytes:
    qos = mqtt5.QoS.AT_LEAST_ONCE if packet_id else mqtt5.QoS.AT_MOST_ONCE
    return mqtt5.PublishPacket(topic, payload, qos=qos, packet_id=packet_id or None, content_type=content_type).write()


def bad_topic(packet_id: int) -> bytes:
    """A topic that is not UTF-8; the codec panics."""
    return publish(packet_id).replace(b"r1", b"r\xff")


def bad_property(packet_id: int) -> bytes:
    return publish(packet_id, content_type="text").replace(b"\x03\x00\x04text", b"\x7f\x00\x04text")


def bad_inner_length(packet_id: int) -> bytes:
    """The length of the properties reaches beyond the packet."""
    packet = bytearray(publish(packet_id))
    packet[-len(b"21.5") - 1] = 99
    return bytes(packet)


BAD = [bad_topic, bad_property, bad_inner_length]


class Broker:
    """The other end of a real connection."""

    def __init__(self) -> None:
        self.window = IntakeWindow(2**20)
        self.heard = bytearray()
        self._accepted: asyncio.Future[asyncio.StreamWriter] = asyncio.get_running_loop().create_future()

    async def connect(self) -> IntakeConnection:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        loop = asyncio.get_running_loop()
        _, self.connection = await loop.create_connection(
            lambda: IntakeConnection(self.window, Outbox(), sys_topics.on_change), "127.0.0.1", port
        )
        self.writer = await self._accepted
        return self.connection

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._accepted.set_result(writer)
        try:
            while data := await reader.read(65536):
                self.heard += data
        except ConnectionResetError:
            pass
        writer.close()

    async def say(self, *packets: bytes) -> None:
        self.writer.write(b"".join(packets))
        await self.writer.drain()

    async def take(self, count: int) -> list[Delivery]:
        await until(lambda: self.window.waiting >= count)
        return await self.window.take(1000, 10**9)

    def packets(self) -> list[mqtt5.Packet]:
        """What the connection has written, decoded."""
        found, view = [], memoryview(bytes(self.heard))
        while view:
            packet, size = mqtt5.read(view)
            found.append(packet)
            view = view[size:]
        return found

    async def close(self) -> None:
        self.connection.abort("the test is over")
        await self.connection.lost
        self._server.close()
        await self._server.wait_closed()


@pytest.fixture
async def broker() -> AsyncIterator[Broker]:
    broker = Broker()
    await broker.connect()
    yield broker
    await broker.close()


def content(deliveries: list[Delivery]) -> list[tuple[object, ...]]:
    return [
        (each.packet_id, each.topic, each.payload, each.content_type, each.fault is not None) for each in deliveries
    ]


async def fed(parts: list[bytes]) -> list[tuple[object, ...]]:
    window = IntakeWindow(2**30)
    connection = IntakeConnection(window, Outbox(), sys_topics.on_change)
    for part in parts:
        connection.data_received(part)
    window.close()
    return content(await window.take(10_000, 10**9))


messages = st.builds(
    publish,
    st.integers(0, 65535),
    st.binary(max_size=300),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0+#"), min_size=1, max_size=20),
    st.none() | st.just("application/json"),
)
bad = st.sampled_from([bad_property, bad_inner_length])
packets = messages | st.builds(lambda bad, packet_id: bad(packet_id), bad, st.integers(1, 65535))


@given(stream=st.lists(packets | st.just(mqtt5.PingRespPacket().write()), max_size=10), data=st.data())
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
async def test_a_stream_cut_anywhere_gives_the_same_deliveries(stream: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(stream)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(whole)))))
    parts = [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    separately = [delivery for packet in stream for delivery in await fed([packet])]
    assert await fed([whole]) == separately
    assert await fed(parts) == separately


async def test_a_stream_that_comes_byte_by_byte_gives_the_same_deliveries() -> None:
    whole = publish(1) + bad_property(2) + publish(0, b"", content_type="text") + bad_inner_length(3) + publish(4)
    assert await fed([whole[i : i + 1] for i in range(len(whole))]) == await fed([whole])
    assert len(await fed([whole])) == 5


@pytest.mark.parametrize("cut", [1, 5, 10, 15, 20, 30])
async def test_a_message_that_makes_the_codec_panic_may_come_in_pieces(cut: int) -> None:
    packet = bad_topic(2)
    whole = publish(1) + packet + publish(3)
    cut += len(publish(1))
    deliveries = await fed([whole[:cut], whole[cut:]])
    assert deliveries == await fed([whole])
    assert [delivery[2] for delivery in deliveries] == [b"21.5", packet, b"21.5"]


async def test_a_message_arrives_as_it_was_published(broker: Broker) -> None:
    await broker.say(publish(7, b"\x00payload", content_type="application/json"), publish(0))
    first, second = await broker.take(2)
    assert content([first, second]) == [
        (7, TOPIC, b"\x00payload", "application/json", False),
        (0, TOPIC, b"21.5", None, False),
    ]
    assert first.connection is broker.connection
    assert first.received_ms > 1.7e12


async def test_a_large_message_arrives_whole(broker: Broker) -> None:
    payload = bytes(range(256)) * 4000
    await broker.say(publish(1, payload), publish(2))
    assert content(await broker.take(2))[0][2] == payload


@pytest.mark.parametrize("bad", BAD)
async def test_an_unreadable_message_is_delivered_with_its_fault_and_its_neighbours_are_intact(
    broker: Broker, bad: object
) -> None:
    assert callable(bad)
    packet = bad(300)
    await broker.say(publish(299), packet, publish(301))
    before, broken, after = await broker.take(3)
    assert content([before, after]) == [(299, TOPIC, b"21.5", None, False), (301, TOPIC, b"21.5", None, False)]
    assert (broken.packet_id, broken.payload) == (300, packet)
    assert broken.topic.replace("\N{REPLACEMENT CHARACTER}", "1") == TOPIC
    assert broken.fault


async def test_a_topic_length_beyond_the_packet_is_a_fault_without_packet_id(broker: Broker) -> None:
    packet = bytearray(publish(300))
    packet[2:4] = b"\xff\xff"
    await broker.say(bytes(packet), publish(301))
    broken, after = await broker.take(2)
    assert (broken.packet_id, broken.payload) == (0, bytes(packet))
    assert broken.fault
    assert after.packet_id == 301


@pytest.mark.parametrize("packet", [b"\x30\xff\xff\xff\xff\x01", b"\x40\x7f" + bytes(127), b"\x00\x00"])
async def test_a_stream_that_makes_no_sense_ends_the_connection(broker: Broker, packet: bytes) -> None:
    await broker.say(publish(1), packet, publish(2))
    assert "unreadable" in await broker.connection.lost
    assert [delivery[0] for delivery in content(await broker.take(1))][:1] == [1]


async def test_acknowledgements_leave_in_the_order_given(broker: Broker) -> None:
    broker.connection.acknowledge([5, 1, 65535])
    broker.connection.acknowledge([])
    broker.connection.acknowledge([2])
    await until(lambda: len(broker.heard) >= 16)
    assert broker.packets() == [mqtt5.PubAckPacket(packet_id) for packet_id in (5, 1, 65535, 2)]


async def test_nothing_is_written_after_the_connection_was_lost(broker: Broker) -> None:
    await broker.say(publish(1))
    await broker.take(1)
    broker.writer.close()
    assert await broker.connection.lost == "closed by the broker"
    broker.connection.acknowledge([1])
    await broker.connection.disconnect()
    broker.connection.pause()
    broker.connection.resume()
    assert not broker.heard


async def test_who_waits_for_an_answer_hears_of_the_end(broker: Broker) -> None:
    broker.writer.close()
    await broker.connection.lost
    for answer in (broker.connection.connack, broker.connection.suback):
        with pytest.raises(BrokerRefused):
            await answer


async def test_answers_reach_who_waits_for_them(broker: Broker) -> None:
    connack, suback = mqtt5.ConnAckPacket(session_present=True), mqtt5.SubAckPacket(1, [])
    await broker.say(connack.write(), suback.write())
    assert await broker.connection.connack == connack
    assert await broker.connection.suback == suback


async def test_being_taken_over_is_told_from_other_ends(broker: Broker) -> None:
    await broker.say(mqtt5.DisconnectPacket(reason_code=mqtt5.DisconnectReasonCode.SESSION_TAKEN_OVER).write())
    assert "session taken over" in await broker.connection.lost
    assert broker.connection.taken_over


async def test_draining_ignores_messages_and_still_acknowledges(broker: Broker) -> None:
    broker.connection.drain()
    await broker.say(publish(1), bad_topic(2), mqtt5.ConnAckPacket().write())
    await broker.connection.connack  # behind the messages
    broker.connection.acknowledge([9])
    await until(lambda: len(broker.heard) >= 4)
    assert broker.window.waiting == 0
    assert broker.window.bytes == 0
    assert broker.packets() == [mqtt5.PubAckPacket(9)]


async def test_a_full_window_stops_the_reading_until_it_has_room(broker: Broker) -> None:
    broker.window.max_bytes = 4000
    broker.window.on_room = broker.connection.resume
    await broker.say(mqtt5.ConnAckPacket().write(), mqtt5.SubAckPacket(1, []).write())
    await broker.connection.suback
    await broker.say(publish(1, bytes(4000)))
    taken = await broker.take(1)
    assert not broker.connection.reading
    await broker.say(publish(2))
    assert broker.window.waiting == 0
    broker.window.release(broker.window.bytes)
    assert content(taken + await broker.take(1))[1][0] == 2


async def test_leaving_in_order_writes_all_before_it_disconnects(broker: Broker) -> None:
    broker.connection.acknowledge([1])
    leaving = asyncio.create_task(broker.connection.disconnect())
    await until(lambda: len(broker.heard) >= 6)
    broker.writer.close()
    await leaving
    assert broker.packets() == [mqtt5.PubAckPacket(1), mqtt5.DisconnectPacket()]


async def test_a_link_on_which_nothing_is_heard_is_given_up(broker: Broker) -> None:
    keeping = asyncio.create_task(broker.connection.keep_alive(0.1))
    assert "nothing heard" in await broker.connection.lost
    await keeping
    assert mqtt5.PingReqPacket() in broker.packets()


async def test_a_link_that_was_long_not_read_is_not_dead_when_it_is_read_again(broker: Broker) -> None:
    broker.connection.pause()
    broker.connection._heard -= 3600
    broker.connection.resume()
    keeping = asyncio.create_task(broker.connection.keep_alive(4))
    await until(lambda: broker.connection.lost.done() or mqtt5.PingReqPacket() in broker.packets())
    assert not broker.connection.lost.done()
    keeping.cancel()
