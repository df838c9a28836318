"""What flows through the stages. Created by the ten thousand a second, hence msgspec structs without GC tracking."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal, NamedTuple, Protocol, TypeAlias, cast
from uuid import UUID

import msgspec
import numpy as np

from gateway.errors import Rejected
from schema.reasons import Reason
from schema.topics import Kind

ItemKind = Literal["frame", "status", "event", "result"]
ITEM_KINDS: tuple[ItemKind, ...] = ("frame", "status", "event", "result")
Channels: TypeAlias = tuple[str, ...]
"""Names of channels, in the order in which a frame gives them."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def moment(ms: float) -> datetime:
    """Milliseconds since 1970 as a datetime, rounded to the microsecond, exactly as the COPY encoder rounds."""
    return EPOCH + timedelta(microseconds=round(ms * 1000))


def item_kind(kind: Kind | None) -> ItemKind:
    """As what a message of a topic is counted; one that cannot be told counts as a frame."""
    match kind:
        case Kind.STATUS:
            return "status"
        case Kind.EVENT:
            return "event"
        case Kind.BACKFILL_RESULT | Kind.COMMAND_RESULT:
            return "result"
    return "frame"


class Acknowledger(Protocol):
    """The connection that delivered a message: its PUBACK goes out there, and on no other."""

    def acknowledge(self, packet_ids: Sequence[int]) -> None:
        """Send a PUBACK for each packet id, in this order."""


class Delivery(msgspec.Struct, gc=False):
    """One PUBLISH as received. `packet_id` is 0 at QoS 0, where nothing is acknowledged."""

    connection: Acknowledger
    packet_id: int
    topic: str
    payload: bytes
    content_type: str | None
    received_ms: float
    fault: str | None = None
    """Why the packet could not be read; `payload` is then the whole packet."""
    weight: int = 0
    """Bytes that it counts for in the window, which sets it."""
    correlation: bytes | None = None
    """The MQTT 5 property Correlation Data."""


class Mapping(msgspec.Struct, frozen=True, eq=False):
    """Where the values of frames with exactly these channels, in this order, go in a layout."""

    channels: Channels
    layout_id: int
    width: int
    slots: np.ndarray
    """slots[i] is the index in `frames.values` of the value of channels[i], from 0."""

    def __hash__(self) -> int:
        return id(self)


class Device:
    """A registered device and what its frames have looked like: all of them, and the latest."""

    __slots__ = ("device_id", "latest", "mappings", "name")

    def __init__(self, device_id: int, name: str) -> None:
        self.device_id = device_id
        self.name = name
        self.mappings: dict[Channels, Mapping | Rejected] = {}
        self.latest: Mapping | None = None


class Route(msgspec.Struct, frozen=True):
    """Where a topic leads: cached for the topics of registered devices."""

    topic: str
    kind: Kind
    device: Device


class Frame(msgspec.Struct, gc=False):
    """One frame on its way to the hypertable. `values[i]` is of channel `mapping.channels[i]`; times in ms."""

    route: Route
    mapping: Mapping
    t: float
    boot: int | None
    seq: int | None
    received_ms: float
    values: Sequence[float | None]
    quality: Sequence[int] | None

    kind: ItemKind = "frame"


class StatusChange(msgspec.Struct, gc=False):
    """A device said, or its will said for it, that it is online or offline."""

    route: Route
    online: bool
    t: float
    boot: int
    oldest_seq: int | None
    firmware: str | None
    generation: int | None
    received_ms: float

    kind: ItemKind = "status"


class DeviceEvent(msgspec.Struct, gc=False):
    """An event of a device; `data` is JSON text."""

    route: Route
    t: float
    type: str
    data: str
    boot: int | None
    received_ms: float

    kind: ItemKind = "event"

    @property
    def digest(self) -> bytes:
        """Tells equal events from different ones of the same instant."""
        return hashlib.sha256(f"{self.type}\0{self.boot}\0{self.data}".encode()).digest()[:16]


class LostFrames(msgspec.Struct, gc=False):
    """Seqs of a boot, first and last included, that the device does not have any more."""

    route: Route
    boot: int
    ranges: Sequence[tuple[int, int]]
    received_ms: float

    kind: ItemKind = "result"


class Answer(msgspec.Struct, gc=False):
    """What a device says became of a command; `data` is JSON text."""

    route: Route
    command_id: UUID
    status: Literal["accepted", "done", "refused", "failed"]
    t: float
    detail: str | None
    data: str | None
    received_ms: float

    kind: ItemKind = "result"


class Reject(msgspec.Struct, gc=False):
    """A message, or some frames of one, for the quarantine. `payload` can be published again as it is."""

    kind: ItemKind
    topic: str
    device: str | None
    reason: Reason
    detail: str
    content_type: str | None
    payload: bytes
    received_ms: float
    numbers: tuple[Device, int, int, int] | None = None
    """Device, boot, first and last seq of the frames in it, as far as the message says."""

    @property
    def sha256(self) -> bytes:
        """Identifies the message: redelivered, it is the same row."""
        return hashlib.sha256(self.topic.encode(errors="replace") + b"\0" + self.payload).digest()


Item = Frame | StatusChange | DeviceEvent | LostFrames | Answer | Reject


class Sorted(NamedTuple):
    """Items by type, each in the order they came in."""

    frames: Sequence[Frame] = ()
    statuses: Sequence[StatusChange] = ()
    events: Sequence[DeviceEvent] = ()
    results: Sequence[LostFrames] = ()
    answers: Sequence[Answer] = ()
    rejects: Sequence[Reject] = ()


def by_type(items: Sequence[Item]) -> Sorted:
    """In nearly all batches all items are frames: these are not looked at one by one."""
    if set(map(type, items)) == {Frame}:
        return Sorted(cast(Sequence[Frame], items))
    return Sorted(
        [item for item in items if isinstance(item, Frame)],
        [item for item in items if isinstance(item, StatusChange)],
        [item for item in items if isinstance(item, DeviceEvent)],
        [item for item in items if isinstance(item, LostFrames)],
        [item for item in items if isinstance(item, Answer)],
        [item for item in items if isinstance(item, Reject)],
    )
