"""PUBLISH packets by the million: one template, in which NumPy writes packet ids, seqs, times and values as columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]

LAST_ID = 65535
BOOT = 1
SEQ_DIGITS, MS_DIGITS = 10, 13


@dataclass(frozen=True)
class Shape:
    """What the messages of a load look like; `block` frames in each, or with 1 a plain frame."""

    form: Literal["msgpack", "json"] = "msgpack"
    channels: int = 20
    block: int = 1

    @property
    def names(self) -> list[str]:
        return [f"channel_{n:03d}" for n in range(self.channels)]


class Packets:
    """`kept` packets of each device, in `rows` of shape (devices, kept); a packet is `size` bytes.

    MessagePack: numbers at full width (uint 32, float 64). JSON: seq padded with blanks, values with four decimals.
    """

    def __init__(self, shape: Shape, topics: Sequence[str], kept: int, boot: int = BOOT, seed: int = 1) -> None:
        assert len({len(topic) for topic in topics}) == 1, "topics of one length"
        self.shape, self.kept = shape, kept
        template, dtype = (_msgpack if shape.form == "msgpack" else _json)(shape, topics[0], boot)
        self.size = len(template)
        self.rows: Any = np.empty((len(topics), kept), dtype)
        self.rows.view(np.uint8).reshape(len(topics), kept, self.size)[:] = np.frombuffer(template, np.uint8)
        generator = np.random.default_rng(seed)
        for row, topic in zip(self.rows, topics, strict=True):
            row["topic"] = topic.encode()
            values = 20 + 60 * generator.random((kept, shape.block, shape.channels))
            cells = row["v"]["cells"]["value"]
            cells[:] = values if shape.form == "msgpack" else _decimals(values)

    def view(self, device: int) -> memoryview:
        """The bytes of a device's packets."""
        return memoryview(self.rows[device].view(np.uint8)).cast("B")

    def number(self, device: int, first: int, times_ms: Floats) -> None:
        """Let a device's packets be its messages `first` and following; `times_ms`, shape (kept, block)."""
        rows = self.rows[device]
        numbers = first + np.arange(self.kept)
        rows["id"] = packet_id(numbers)
        if self.shape.form == "msgpack":
            rows["seq"] = numbers * self.shape.block
            rows["t"]["value"] = times_ms
        else:
            rows["seq"] = _digits(numbers * self.shape.block, SEQ_DIGITS, blank=True)
            rows["t"]["value"] = _times(times_ms)


def packet_id(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Of a device's messages: from 1 to 65535, and again."""
    return numbers % LAST_ID + 1


# -- templates


class _Template:
    """Bytes, and where in them the columns are."""

    def __init__(self) -> None:
        self.bytes = b""
        self._columns: list[tuple[str, Any, int]] = []

    def add(self, constant: bytes) -> None:
        self.bytes += constant

    def column(self, name: str, kind: Any, content: bytes) -> None:
        self._columns.append((name, kind, len(self.bytes)))
        self.bytes += content

    def dtype(self, shift: int = 0) -> np.dtype[Any]:
        names, kinds, offsets = zip(*self._columns, strict=True)
        return _struct(names, kinds, [offset + shift for offset in offsets], len(self.bytes) + shift)

    def as_publish(self, topic: str) -> tuple[bytes, np.dtype[Any]]:
        """This as the payload of a QoS 1 PUBLISH of MQTT 5."""
        packet = _Template()
        length = 2 + len(topic) + 2 + 1 + len(self.bytes)
        packet.add(b"\x32" + _varint(length) + len(topic).to_bytes(2, "big"))
        packet.column("topic", f"S{len(topic)}", topic.encode())
        packet.column("id", ">u2", bytes(2))
        packet.add(b"\0")  # no properties
        shift = len(packet.bytes)
        packet._columns += [(name, kind, offset + shift) for name, kind, offset in self._columns]
        packet.add(self.bytes)
        return packet.bytes, packet.dtype()


def _struct(names: Sequence[str], kinds: Sequence[Any], offsets: Sequence[int], size: int) -> np.dtype[Any]:
    return np.dtype({"names": list(names), "formats": list(kinds), "offsets": list(offsets), "itemsize": size})


def _cells(kind: Any, count: int, before: int, stride: int) -> Any:
    """`count` cells of `stride` bytes, the value behind the first `before`."""
    return _struct(["value"], [kind], [before], stride), (count,)


def _msgpack(shape: Shape, topic: str, boot: int) -> tuple[bytes, np.dtype[Any]]:
    payload = _Template()
    payload.add(_map(4 if shape.block == 1 else 5) + _text("boot") + b"\xce" + boot.to_bytes(4, "big"))
    payload.add(_text("seq") + b"\xce")
    payload.column("seq", ">u4", bytes(4))
    number = b"\xcb" + bytes(8)
    head = b"" if shape.block == 1 else _array(shape.block)
    if head:
        payload.add(_text("ch") + _array(shape.channels) + b"".join(map(_text, shape.names)))
    payload.add(_text("t") + head)
    payload.column("t", _cells(">f8", shape.block, 1, 9), number * shape.block)
    payload.add(_text("v") + head)
    if head:
        row_head, cells = _array(shape.channels), [number] * shape.channels
    else:
        row_head, cells = _map(shape.channels), [_text(name) + number for name in shape.names]
    return _with_values(payload, shape, ">f8", row_head, cells, b"", len(cells[0]) - 8).as_publish(topic)


def _json(shape: Shape, topic: str, boot: int) -> tuple[bytes, np.dtype[Any]]:
    payload = _Template()
    payload.add(b'{"boot":%d,"seq":' % boot)
    payload.column("seq", ("u1", (SEQ_DIGITS,)), bytes(SEQ_DIGITS))
    opened, closed = (b"", b"") if shape.block == 1 else (b"[", b"]")
    if opened:
        payload.add(b',"ch":[' + b",".join(b'"%s"' % name.encode() for name in shape.names) + b"]")
    payload.add(b',"t":' + opened)
    width = MS_DIGITS + 4
    times = b",".join([bytes(width)] * shape.block) + (closed or b",")
    payload.column("t", _cells(("u1", (width,)), shape.block, 0, width + 1), times)
    payload.add((b"," if closed else b"") + b'"v":' + opened)
    if opened:
        names, begin, end = [b""] * shape.channels, b"[", b"]"
    else:
        names, begin, end = [b'"%s":' % name.encode() for name in shape.names], b"{", b"}"
    cells = [name + bytes(7) + b"," for name in names]
    cells[-1] = cells[-1][:-1] + end
    payload = _with_values(payload, shape, ("u1", (7,)), begin, cells, b"," if opened else b"", len(names[0]))
    payload.bytes = (payload.bytes[:-1] + b"]" if opened else payload.bytes) + b"}"
    return payload.as_publish(topic)


def _with_values(
    payload: _Template, shape: Shape, kind: Any, head: bytes, cells: list[bytes], tail: bytes, before: int
) -> _Template:
    """Add the column `v`: a row of cells for each frame."""
    row = head + b"".join(cells) + tail
    cell, count = _cells(kind, shape.channels, before, len(cells[0]))
    rows = _struct(["cells"], [(cell, count)], [len(head)], len(row))
    payload.column("v", (rows, (shape.block,)), row * shape.block)
    return payload


def _text(text: str) -> bytes:
    return bytes([0xA0 | len(text)]) + text.encode()


def _map(count: int) -> bytes:
    return bytes([0x80 | count]) if count < 16 else b"\xde" + count.to_bytes(2, "big")


def _array(count: int) -> bytes:
    return bytes([0x90 | count]) if count < 16 else b"\xdc" + count.to_bytes(2, "big")


def _varint(length: int) -> bytes:
    """The remaining length of an MQTT packet."""
    encoded = b""
    while True:
        length, low = divmod(length, 128)
        encoded += bytes([low | (0x80 if length else 0)])
        if not length:
            return encoded


def _digits(numbers: NDArray[np.int64], width: int, *, blank: bool = False) -> NDArray[np.uint8]:
    """Decimal digits, as a last axis; leading zeros as blanks, if so wanted: JSON allows no others."""
    powers = 10 ** np.arange(width - 1, -1, -1)
    text = (numbers[..., np.newaxis] // powers % 10 + ord("0")).astype(np.uint8)
    if blank:
        text[(numbers[..., np.newaxis] < powers) & (powers > 1)] = ord(" ")
    return text


def _decimals(values: Floats) -> NDArray[np.uint8]:
    """Values from 10 up to, not including, 100: as 12.3456."""
    text = _digits(np.rint(values * 1e4).astype(np.int64), 6)
    return np.insert(text, 2, ord("."), axis=-1)


def _times(times_ms: Floats) -> NDArray[np.uint8]:
    """ms with three decimals."""
    text = _digits(np.rint(times_ms * 1e3).astype(np.int64), MS_DIGITS + 3)
    return np.insert(text, MS_DIGITS, ord("."), axis=-1)
