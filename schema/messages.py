"""The messages that a device publishes and receives, as msgspec types that decode both MessagePack and JSON.

Unknown fields are ignored. Times are milliseconds since the Unix epoch, UTC; a fraction is kept to the microsecond.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from schema.topics import END

CONTENT_MSGPACK = "application/msgpack"
CONTENT_JSON = "application/json"

MOST_SEQ = 2**53 - 1
MOST_PACKET = 2**20
"""Bytes of the largest MQTT packet that a device may send; brokers are configured for it, and grants say it."""

Boot = Annotated[int, Meta(ge=0, le=2**32 - 1, description="power-up counter of the controller; only grows")]
Seq = Annotated[int, Meta(ge=0, le=MOST_SEQ, description="number of the frame within its boot, from 0")]
Quality = Annotated[int, Meta(ge=0, le=32767, description="0 good, 1 bad, 2 uncertain, others device-specific")]

GOOD, BAD, UNCERTAIN = 0, 1, 2


class Telemetry(msgspec.Struct, gc=False, frozen=True):
    """A frame (all channels of one instant), or, when `ch` is given, a block of frames.

    Frame: `t` a time, `v` channel name → value, `q` channel name → quality (good where absent).
    Block: `ch` channel names, `t` one time a frame, `v` one row a frame, one value a channel in the order of `ch`,
    `q` of the same shape as `v`; `seq` is the first frame's, the others follow without a gap.
    A value is a number, stored as a double (integers beyond 2**53 are rounded); true and false are 1 and 0. A null
    value, NaN or infinity says that the channel was due but has no value: it is stored as NULL with bad quality.
    """

    t: float | list[float]
    v: dict[str, float | bool | None] | list[list[float | bool | None]]
    boot: Boot | None = None
    seq: Seq | None = None
    q: dict[str, Quality] | list[list[Quality]] | None = None
    ch: list[str] | None = None


class Status(msgspec.Struct, frozen=True):
    """The state of the connection: retained on the status topic, and registered as the will when connecting.

    `t` is the time at which the connection was begun, the same in the `online` message and in the will. So the will of
    an older connection that arrives late is older than the new `online` and loses. With equal boot and time, `offline`
    is the later one.
    """

    status: Literal["online", "offline"]
    t: float
    boot: Boot = 0
    oldest: Seq | None = None
    """The oldest seq of this boot that the device still keeps (the next seq, if it keeps none). What is older and has
    not arrived is lost."""
    firmware: Annotated[str, Meta(max_length=128)] | None = None
    generation: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None
    """The generation of the login that the device uses, as granted at enrollment. It proves that the login works, and
    ends the older ones."""


class Event(msgspec.Struct, frozen=True):
    """Something that happened at an instant: a phase change, a dosing, a calibration, a local alarm."""

    t: float
    type: Annotated[str, Meta(min_length=1, max_length=64)]
    """`phase`, `dosing`, `calibration`, `alarm`; other words are kept too."""
    boot: Boot | None = None
    data: dict[str, Any] = {}
    n: Annotated[int, Meta(ge=0, le=MOST_SEQ)] | None = None
    """A number that tells equal events of one instant apart, such as two equal doses in a millisecond: without it the
    second is taken for the first, sent again. A count of the events of the boot does it."""


Range = tuple[Seq, Seq]
"""First and last seq, both included."""

Receipt = list[tuple[Boot, Seq]]
"""Retained on the receipt topic, as JSON: for each open boot, the seq up to which every frame is stored (or is in
quarantine, or is known to be lost). A device may forget a frame once a receipt covers it, and not before."""


class Backfill(msgspec.Struct, frozen=True):
    """Asks for frames of a boot that have not arrived; the device sends them on the history topic. As JSON."""

    boot: Boot
    ranges: list[Range]


class BackfillResult(msgspec.Struct, frozen=True):
    """Names frames of a boot that the device no longer has: they are lost, and are not asked for again."""

    boot: Boot
    ranges: list[Range]


class Command(msgspec.Struct, frozen=True, omit_defaults=True):
    """An order to a device, to be carried out once. The device remembers the ids of finished commands, also over a
    restart, and answers a repeated one with the same result. It refuses a command that has expired, is for another
    boot, or is unknown. As JSON."""

    id: UUID
    name: Annotated[str, Meta(pattern="^[a-z][a-z0-9-]{0,63}" + END)]
    """`setpoint`, `control`, `identify`; a device may know others."""
    parameters: dict[str, Any]
    expires: int
    """The device must not begin the command at this time or later."""
    boot: Boot | None = None
    """The command is meant for this boot alone."""


class CommandResult(msgspec.Struct, frozen=True):
    """The outcome of a command: `accepted` may come first; one of `done`, `refused` and `failed` comes last.

    `id` may be left out where the MQTT 5 property Correlation Data of the command is sent back.
    """

    status: Literal["accepted", "done", "refused", "failed"]
    t: float
    id: UUID | None = None
    detail: Annotated[str, Meta(max_length=500)] | None = None
    """An explanation for people."""
    data: dict[str, Any] | None = None
