"""Checks times, shapes and limits of a typed message, and turns it into items to store, rejects, or both.

This is pure: it looks only into the registry's cache. If a mapping is not there, it raises `Missing`; the caller has
the registry find the mapping, and admits the message again.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol
from uuid import UUID

import msgspec

from gateway.errors import Rejected
from gateway.intake import decode
from gateway.intake.rejects import reject, reject_row
from gateway.intake.wrong_rows import take_apart
from gateway.items import (
    Channels,
    Delivery,
    Device,
    DeviceCommandResult,
    DeviceEvent,
    Frame,
    Item,
    LostFrames,
    Reject,
    SlotMapping,
    StatusChange,
    TopicRoute,
)
from gateway.settings import Settings
from schema.messages import GOOD, MOST_SEQ, BackfillResult, CommandResult, Event, Status, Telemetry
from schema.reasons import Reason
from schema.times import is_in_seconds, unit_hint
from schema.topics import Kind, parse

ROUTES = 65536
"""Topics remembered; a topic beyond them is parsed again."""

MOST_RANGES = 1000
"""Most ranges of lost frames in a message."""

UUID_BYTES = 16

FLOAT_DIGITS = 308
"""An integer of more digits is no float: who reads the events of all devices as floats would fail at this one."""

NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
"""Finds an escaped NUL in JSON text: `\\u0000`, but not behind an escaped backslash."""


class KnownDevices(Protocol):
    """The registry, as far as the admission needs it."""

    def device(self, name: str) -> Device | None:
        """The device of this name, if it is known without asking the database."""


class Missing(Exception):
    """The registry's cache lacks a mapping: `wanted` is its device and channels."""

    def __init__(self, device: Device, channels: Channels) -> None:
        self.wanted = device, channels


class Admission:
    def __init__(self, settings: Settings, known: KnownDevices) -> None:
        self._settings = settings
        self._max_skew_ms = settings.max_skew_s * 1000
        self._max_age_ms = settings.max_age_s * 1000
        self._known = known
        self._routes: dict[str, TopicRoute] = {}

    def unknown_devices(self, topics: Iterable[str]) -> set[str]:
        """The names of devices in these topics that the registry's cache lacks."""
        names = {parsed[0] for topic in topics if topic not in self._routes and (parsed := parse(topic))}
        return {name for name in names if self._known.device(name) is None}

    def admit(self, delivery: Delivery) -> Sequence[Item]:  # noqa: PLR0911 - one for each kind
        """The items of a message, at least one; a message that cannot be stored is one Reject. Raises Missing."""
        route = self._routes.get(delivery.topic)
        try:
            if delivery.fault is not None:
                raise Rejected(Reason.MALFORMED_PACKET, delivery.fault)
            if route is None:
                route = self._route(delivery.topic)
            match route.kind:
                case Kind.TELEMETRY | Kind.HISTORY:
                    try:
                        message = decode.telemetry(delivery.payload, delivery.content_type)
                    except Rejected as why:
                        return self._partly_wrong(delivery, route, why)
                    if message.ch is None and message.q is None and message.v.__class__ is dict:
                        return (self._frame(delivery, route, message, message.v, None),)
                    return self._telemetry(delivery, route, message)
                case Kind.STATUS:
                    return (self._status(delivery, route, decode.status(delivery.payload, delivery.content_type)),)
                case Kind.EVENT:
                    return (self._event(delivery, route, decode.event(delivery.payload, delivery.content_type)),)
                case Kind.BACKFILL_RESULT:
                    lost = decode.backfill_result(delivery.payload, delivery.content_type)
                    return (self._lost(delivery, route, lost),)
                case Kind.COMMAND_RESULT:
                    result = decode.command_result(delivery.payload, delivery.content_type)
                    return (self._command_result(delivery, route, result),)
        except Rejected as rejected:
            return (reject(delivery, rejected, route.device if route else None),)

    def _route(self, topic: str) -> TopicRoute:
        parsed = parse(topic)
        if parsed is None:
            raise Rejected(Reason.UNKNOWN_TOPIC, "not a topic of the contract")
        name, kind = parsed
        device = self._known.device(name)
        if device is None:
            raise Rejected(Reason.UNKNOWN_DEVICE, f"no device {name[:80]!r} is registered")
        route = TopicRoute(topic, kind, device)
        if len(self._routes) >= ROUTES:
            self._routes.clear()
        self._routes[topic] = route
        return route

    def _mapping(self, device: Device, channels: Channels) -> SlotMapping:
        mapping = device.mappings.get(channels)
        if mapping is None:
            raise Missing(device, channels)
        if isinstance(mapping, Rejected):
            raise mapping.anew()
        return mapping

    def _check_time(self, t: float, received_ms: float, *, past: bool = True) -> None:
        if not math.isfinite(t):
            raise Rejected(Reason.WRONG_TYPE, "the time is not a number")
        if not t <= received_ms + self._max_skew_ms:
            bound = f"at most {self._settings.max_skew_s} s are allowed (BIOGATE_MAX_SKEW_S)"
            raise Rejected(Reason.TOO_NEW, f"{_ahead(t, received_ms)}; {bound}{unit_hint(t)}")
        if past and not t >= received_ms - self._max_age_ms:
            bound = f"at most {self._settings.max_age_s} s are allowed (BIOGATE_MAX_AGE_S)"
            raise Rejected(Reason.TOO_OLD, f"{_ahead(t, received_ms)}; {bound}{unit_hint(t)}")
        if t < 0:
            raise Rejected(Reason.TOO_OLD, "a time before 1970")

    # -- telemetry

    def _frame(
        self,
        delivery: Delivery,
        route: TopicRoute,
        message: Telemetry,
        values: dict[str, float | None],
        quality: Sequence[int] | None,
    ) -> Frame:
        t, received_ms, device = message.t, delivery.received_ms, route.device
        if t.__class__ is not float:
            raise Rejected(Reason.WRONG_SHAPE, "`v` is one frame's, `t` a list of times")
        if t < 0 or not received_ms - self._max_age_ms <= t <= received_ms + self._max_skew_ms:
            self._check_time(t, received_ms)
        mapping, channels = device.latest, tuple(values)
        if mapping is None or mapping.channels != channels:  # else the same as before: nearly always
            device.latest = mapping = self._mapping(device, channels)
        return Frame(route, mapping, t, message.boot, message.seq, received_ms, tuple(values.values()), quality)

    def _telemetry(self, delivery: Delivery, route: TopicRoute, message: Telemetry) -> Sequence[Item]:
        """The items of a block, or of a frame with qualities."""
        if isinstance(message.v, list):
            return self._block(delivery, route, message, message.v, {})
        if message.ch is not None:
            raise Rejected(Reason.WRONG_SHAPE, "`ch` belongs to a block, where `v` is a list of rows")
        if not isinstance(message.q, dict):
            raise Rejected(Reason.WRONG_SHAPE, "`q` of a frame is a map from channel to quality")
        values = {**message.v, **{name: None for name in message.q if name not in message.v}}
        quality = [message.q.get(name, GOOD) for name in values]
        return (self._frame(delivery, route, message, values, quality),)

    def _partly_wrong(self, delivery: Delivery, route: TopicRoute, why: Rejected) -> Sequence[Item]:
        """The items of a block of which only some rows are wrong. Raises Rejected, as does `why`, for anything else."""
        if why.reason is not Reason.WRONG_TYPE:
            raise why
        block, wrong = take_apart(delivery.payload, delivery.content_type, why)
        assert isinstance(block.v, list)
        return self._block(delivery, route, block, block.v, wrong)

    def _block(
        self,
        delivery: Delivery,
        route: TopicRoute,
        message: Telemetry,
        rows: list[list[float | None]],
        wrong: Mapping[int, str],
    ) -> Sequence[Item]:
        """The items of a block; `wrong` says what is wrong with which of its rows. A block of which no frame can be
        stored, all for one reason, goes to quarantine whole: it takes one place there, not thousands."""
        times, qualities = message.t, message.q
        if message.ch is None or not isinstance(times, list) or isinstance(qualities, dict):
            raise Rejected(Reason.WRONG_SHAPE, "a block has a list of channels `ch` and lists in `t`, `v` and `q`")
        width = len(message.ch)
        if not rows:
            raise Rejected(Reason.EMPTY, "a block without frames")
        if len(times) != len(rows) or (qualities is not None and len(qualities) != len(rows)):
            raise Rejected(Reason.WRONG_SHAPE, f"{len(rows)} rows in `v`, another number in `t` or `q`")
        mapping = self._mapping(route.device, tuple(message.ch))
        items: list[Item] = []
        rejects: list[Reject] = []
        for i, (t, values) in enumerate(zip(times, rows, strict=True)):
            seq = None if message.seq is None else message.seq + i
            quality = None if qualities is None else qualities[i]
            try:
                if i in wrong:
                    raise Rejected(Reason.WRONG_TYPE, wrong[i])
                if len(values) != width or (quality is not None and len(quality) != width):
                    raise Rejected(Reason.WRONG_SHAPE, f"the row and {width} channels differ in length")
                if seq is not None and seq > MOST_SEQ:
                    raise Rejected(Reason.WRONG_TYPE, f"the seq of this frame would be above {MOST_SEQ}")
                self._check_time(t, delivery.received_ms)
            except Rejected as why:
                rejects.append(reject_row(delivery, route.device, message, i, why))
                items.append(rejects[-1])
            else:
                items.append(Frame(route, mapping, t, message.boot, seq, delivery.received_ms, values, quality))
        if len(rejects) == len(items) and len({one.reason for one in rejects}) == 1:
            raise Rejected(rejects[0].reason, rejects[0].detail)
        return items

    # -- statuses, events, results

    def _status(self, delivery: Delivery, route: TopicRoute, message: Status) -> StatusChange:
        """A status has no bound on its age: a retained one may be old and true. Seconds, not ms, are no time though."""
        self._check_time(message.t, delivery.received_ms, past=is_in_seconds(message.t))
        online, firmware = message.status == "online", _storable(message.firmware)
        boot, oldest, generation = message.boot, message.oldest, message.generation
        return StatusChange(route, online, message.t, boot, oldest, firmware, generation, delivery.received_ms)

    def _lost(self, delivery: Delivery, route: TopicRoute, message: BackfillResult) -> LostFrames:
        if not message.ranges:
            raise Rejected(Reason.EMPTY, "no ranges")
        if len(message.ranges) > MOST_RANGES:
            raise Rejected(Reason.TOO_LARGE, f"{len(message.ranges)} ranges, at most {MOST_RANGES} allowed")
        if any(first > last for first, last in message.ranges):
            raise Rejected(Reason.WRONG_SHAPE, "a range whose first seq is above its last")
        return LostFrames(route, message.boot, message.ranges, delivery.received_ms)

    def _event(self, delivery: Delivery, route: TopicRoute, message: Event) -> DeviceEvent:
        self._check_time(message.t, delivery.received_ms)
        data = self._json(message.data)
        type_, received_ms = _storable(message.type) or "", delivery.received_ms
        return DeviceEvent(route, message.t, type_, data, message.boot, received_ms, message.n)

    def _command_result(self, delivery: Delivery, route: TopicRoute, message: CommandResult) -> DeviceCommandResult:
        """A result has no bounds on its time: what became of a command matters, even if the device's clock is wrong."""
        if not math.isfinite(message.t):
            raise Rejected(Reason.WRONG_TYPE, "the time is not a number")
        identifier, detail = _command_id(message.id, delivery.correlation), _storable(message.detail)
        data = None if message.data is None else self._json(message.data)
        return DeviceCommandResult(route, identifier, message.status, message.t, detail, data, delivery.received_ms)

    def _json(self, data: dict[str, Any]) -> str:
        """Encode `data` as JSON text that PostgreSQL takes; equal data give equal text."""
        try:
            encoded = msgspec.json.encode(data, order="sorted")
        except Exception as error:  # what MessagePack can say and JSON cannot
            raise Rejected(Reason.WRONG_TYPE, f"`data` is not expressible as JSON: {error}") from error
        if len(encoded) > FLOAT_DIGITS:
            encoded = decode.finite(encoded)
        if len(encoded) > self._settings.max_event_bytes:
            most = self._settings.max_event_bytes
            raise Rejected(Reason.TOO_LARGE, f"`data` of {len(encoded)} bytes, at most {most} allowed")
        text = encoded.decode()
        if NUL.search(text):
            raise Rejected(Reason.WRONG_TYPE, "`data` has a NUL character in a string")
        return text


def _command_id(said: UUID | None, correlation: bytes | None) -> UUID:
    """The id of the command that a result is of: from the message, from MQTT's Correlation Data, or from both."""
    if correlation is None:
        if said is None:
            raise Rejected(Reason.WRONG_TYPE, "`id` is missing, and there is no Correlation Data")
        return said
    if len(correlation) != UUID_BYTES or (said is not None and said.bytes != correlation):
        raise Rejected(Reason.WRONG_SHAPE, "the Correlation Data is not the command's, or not that of `id`")
    return UUID(bytes=correlation)


def _ahead(t: float, received_ms: float) -> str:
    seconds = (t - received_ms) / 1000
    return f"the time is {abs(seconds):.3g} s {'ahead of' if seconds > 0 else 'behind'} the gateway's"


def _storable(text: str | None) -> str | None:
    """Return `text`, or raise Rejected if it has a NUL, which PostgreSQL text cannot hold."""
    if text is not None and "\0" in text:
        raise Rejected(Reason.WRONG_TYPE, "a NUL character in a text")
    return text
