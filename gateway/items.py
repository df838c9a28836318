"""The types that flow through the stages. Ten thousand a second are made, hence msgspec structs without GC tracking."""

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
NOT_SENT = -1
"""The quality, in a frame of imported history, of a channel that was not sent with it: no message can say this."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def moment(ms: float) -> datetime:
    """Milliseconds since 1970 as a datetime, rounded to the microsecond, exactly as the COPY encoder rounds."""
    return EPOCH + timedelta(microseconds=round(ms * 1000))


def item_kind(kind: Kind | None) -> ItemKind:
    """The kind under which a message is counted; unknown topics (None) count as frames."""
    match kind:
        case Kind.STATUS:
            return "status"
        case Kind.EVENT:
            return "event"
        case Kind.BACKFILL_RESULT | Kind.COMMAND_RESULT:
            return "result"
    return "frame"


class Acknowledger(Protocol):
    """The connection that delivered a message, and the only one on which its PUBACK may be sent."""

    def acknowledge(self, packet_ids: Sequence[int]) -> None:
        """Send a PUBACK for each packet id, in this order."""


class NoBroker:
    """The acknowledger of messages that came from no broker: nobody waits for their PUBACK."""

    def acknowledge(self, packet_ids: Sequence[int]) -> None:
        """Send nothing."""


class Delivery(msgspec.Struct, gc=False):
    """One PUBLISH as received, at `received_ms` since 1970. `packet_id` is 0 at QoS 0, which is not acknowledged."""

    connection: Acknowledger
    packet_id: int
    topic: str
    payload: bytes
    content_type: str | None
    received_ms: float
    fault: str | None = None
    """The reason why the packet could not be read; `payload` is then the whole packet."""
    weight: int = 0
    """Bytes of the window that the message takes; the window sets them."""
    correlation: bytes | None = None
    """The MQTT 5 property Correlation Data."""


class SlotMapping(msgspec.Struct, frozen=True, eq=False):
    """Says where a layout, `width` values wide, has the values of frames with exactly these channels in this order."""

    channels: Channels
    layout_id: int
    width: int
    slots: np.ndarray
    """slots[i] is the index in `frames.values` of the value of channels[i], from 0."""

    def __hash__(self) -> int:
        return id(self)


class Device:
    """A registered device, the mappings of all sets of channels that its frames have had, the latest mapping, and the
    time and receipt of its newest stored frame in ms since 1970 (None: not known)."""

    __slots__ = ("device_id", "latest", "mappings", "name", "newest", "newest_received")

    def __init__(self, device_id: int, name: str) -> None:
        self.device_id = device_id
        self.name = name
        self.mappings: dict[Channels, SlotMapping | Rejected] = {}
        self.latest: SlotMapping | None = None
        self.newest: float | None = None
        self.newest_received: float = 0.0


class TopicRoute(msgspec.Struct, frozen=True):
    """The device and the kind of message that a topic stands for; cached for topics of registered devices."""

    topic: str
    kind: Kind
    device: Device


class Frame(msgspec.Struct, gc=False):
    """One frame on its way to the hypertable. `values[i]` belongs to `mapping.channels[i]`; times are ms since 1970."""

    route: TopicRoute
    mapping: SlotMapping
    t: float
    boot: int | None
    seq: int | None
    received_ms: float
    values: Sequence[float | None]
    quality: Sequence[int] | None

    kind: ItemKind = "frame"

    @property
    def sent_channels(self) -> Channels:
        """The channels that were sent with this frame: all of its mapping, but in imported history."""
        channels = self.mapping.channels
        if self.quality is None or NOT_SENT not in self.quality:
            return channels
        return tuple(name for name, one in zip(channels, self.quality, strict=True) if one != NOT_SENT)


class StatusChange(msgspec.Struct, gc=False):
    """A device, or its will, said that it is online or offline."""

    route: TopicRoute
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

    route: TopicRoute
    t: float
    type: str
    data: str
    boot: int | None
    received_ms: float
    n: int | None = None

    kind: ItemKind = "event"

    @property
    def digest(self) -> bytes:
        """A hash of 16 bytes that tells equal events of one instant from different ones."""
        number = "" if self.n is None else f"\0{self.n}"
        return hashlib.sha256(f"{self.type}\0{self.boot}\0{self.data}{number}".encode()).digest()[:16]


class LostFrames(msgspec.Struct, gc=False):
    """A device said that it does not have these seqs of a boot any more; each range includes first and last."""

    route: TopicRoute
    boot: int
    ranges: Sequence[tuple[int, int]]
    received_ms: float

    kind: ItemKind = "result"


class DeviceCommandResult(msgspec.Struct, gc=False):
    """A device said what became of a command; `data` is JSON text."""

    route: TopicRoute
    command_id: UUID
    status: Literal["accepted", "done", "refused", "failed"]
    t: float
    detail: str | None
    data: str | None
    received_ms: float

    kind: ItemKind = "result"


NumberedFrames: TypeAlias = tuple[Device, int, int, int]
"""Frames of a device by their numbers: device, boot, first and last seq."""


class Reject(msgspec.Struct, gc=False):
    """A message, or one item of it, for the quarantine. `payload` can be published again as it is."""

    kind: ItemKind
    topic: str
    device: str | None
    reason: Reason
    detail: str
    content_type: str | None
    payload: bytes
    received_ms: float
    numbers: NumberedFrames | None = None
    """The frames in it, if the message says their numbers."""

    @property
    def sha256(self) -> bytes:
        """Identifies the message: delivered again, it is the same row of the quarantine."""
        return hashlib.sha256(self.topic.encode(errors="replace") + b"\0" + self.payload).digest()


AcceptedItem: TypeAlias = Frame | StatusChange | DeviceEvent | LostFrames | DeviceCommandResult
Item: TypeAlias = AcceptedItem | Reject


class Sorted(NamedTuple):
    """Items by type, each type in the order of receipt."""

    frames: Sequence[Frame] = ()
    statuses: Sequence[StatusChange] = ()
    events: Sequence[DeviceEvent] = ()
    lost: Sequence[LostFrames] = ()
    command_results: Sequence[DeviceCommandResult] = ()
    rejects: Sequence[Reject] = ()


def by_type(items: Sequence[Item]) -> Sorted:
    """Sort items by type. Nearly all batches hold only frames, and these are not looked at one by one."""
    if set(map(type, items)) == {Frame}:
        return Sorted(cast(Sequence[Frame], items))
    return Sorted(
        [item for item in items if isinstance(item, Frame)],
        [item for item in items if isinstance(item, StatusChange)],
        [item for item in items if isinstance(item, DeviceEvent)],
        [item for item in items if isinstance(item, LostFrames)],
        [item for item in items if isinstance(item, DeviceCommandResult)],
        [item for item in items if isinstance(item, Reject)],
    )
