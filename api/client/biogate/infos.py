"""Answers as frozen objects. Fields that this version does not know are read over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

Content: TypeAlias = Mapping[str, Any]


def moment(text: str) -> datetime:
    """Return an instant of the API, in UTC."""
    return datetime.fromisoformat(text)


def moment_or_none(text: str | None) -> datetime | None:
    return None if text is None else moment(text)


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """A device. `online` and `firmware` are None if it has never sent a status, `last_frame_at` if no frame."""

    device: str
    state: str
    title: str | None
    location: str | None
    tags: tuple[str, ...]
    online: bool | None
    firmware: str | None
    last_frame_at: datetime | None

    @classmethod
    def of(cls, content: Content) -> DeviceInfo:
        presence = content["presence"] or {}
        return cls(
            device=content["device"],
            state=content["state"],
            title=content["title"],
            location=content["location"],
            tags=tuple(content["tags"]),
            online=presence.get("online"),
            firmware=presence.get("firmware"),
            last_frame_at=moment_or_none(content["last_frame_at"]),
        )


@dataclass(frozen=True, slots=True)
class ChannelInfo:
    """A channel that a device has sent. `unit` is None while nobody has said it."""

    channel: str
    unit: str | None
    description: str | None

    @classmethod
    def of(cls, content: Content) -> ChannelInfo:
        return cls(content["channel"], content["unit"], content["description"])


@dataclass(frozen=True, slots=True)
class NewestValue:
    """The newest sample of a channel; `quality` is 0 good, 1 bad, 2 uncertain. All three are None if none was found."""

    device: str
    channel: str
    unit: str | None
    time: datetime | None
    value: float | None
    quality: int | None

    @classmethod
    def of(cls, content: Content) -> NewestValue:
        time = moment_or_none(content["time"])
        return cls(content["device"], content["channel"], content["unit"], time, content["value"], content["quality"])


@dataclass(frozen=True, slots=True)
class EventInfo:
    """Something that happened on a device at an instant, such as a change of phase."""

    time: datetime
    type: str
    data: Mapping[str, Any]
    received_at: datetime

    @classmethod
    def of(cls, content: Content) -> EventInfo:
        return cls(moment(content["time"]), content["type"], content["data"], moment(content["received_at"]))


@dataclass(frozen=True, slots=True)
class AnnotationInfo:
    """What somebody noted about a time of a device; `ends` is None for one instant."""

    id: int
    begins: datetime
    ends: datetime | None
    text: str
    who: str

    @classmethod
    def of(cls, content: Content) -> AnnotationInfo:
        ends = moment_or_none(content["ends"])
        return cls(content["id"], moment(content["begins"]), ends, content["text"], content["who"])


@dataclass(frozen=True, slots=True)
class AlarmInfo:
    """An alarm rule on a device, with its state by ISA-18.2."""

    device: str
    rule: str
    title: str
    state: str
    condition: str
    priority: str
    since: datetime
    value: float | None
    detail: str
    message: str
    not_evaluated: str | None

    @classmethod
    def of(cls, content: Content) -> AlarmInfo:
        found = {name: content[name] for name in cls.__slots__}
        return cls(**found | {"since": moment(content["since"])})
