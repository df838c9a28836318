"""What people have recorded: corrections of samples, deviations, and search by words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypedDict

from biogate.asking import Flow, HttpAsk, Patience, answered, segment
from biogate.calls import API, Items, pages, read
from biogate.infos import Content, moment, moment_or_none
from biogate.questions import checked


@dataclass(frozen=True, slots=True)
class DeviationInfo:
    """Something that was found wrong; `members` are pairs of a person and a role."""

    deviation: str
    title: str
    severity: str
    state: str
    tags: tuple[str, ...]
    members: tuple[tuple[str, str], ...]
    opened_by: str
    opened_at: datetime
    closed_at: datetime | None

    @classmethod
    def of(cls, content: Content) -> DeviationInfo:
        found = {name: content[name] for name in cls.__slots__} | {
            "tags": tuple(content["tags"]),
            "members": tuple((one["who"], one["role"]) for one in content["members"]),
            "opened_at": moment(content["opened_at"]),
            "closed_at": moment_or_none(content["closed_at"]),
        }
        return cls(**found)


@dataclass(frozen=True, slots=True)
class FoundText:
    """A text with the words that were searched for; `excerpt` is what stands around them."""

    kind: str
    id: str
    time: datetime
    device: str | None
    title: str
    who: str | None
    excerpt: str

    @classmethod
    def of(cls, content: Content) -> FoundText:
        found = {name: content[name] for name in cls.__slots__}
        excerpt = "".join(one["text"] for one in content["excerpt"])
        return cls(**found | {"time": moment(content["time"]), "excerpt": excerpt})


@dataclass(frozen=True, slots=True)
class CorrectionInfo:
    """A version of a correction of a channel of a device; `act` is make, change or withdraw."""

    correction: int
    version: int
    act: str
    device: str
    channel: str
    from_: datetime
    to: datetime
    value: float | None
    factor: float | None
    offset: float | None
    quality: int | None
    unit: str | None
    deviation: str | None
    who: str
    why: str
    made_at: datetime

    @classmethod
    def of(cls, content: Content) -> CorrectionInfo:
        found = {name: content[name.rstrip("_")] for name in cls.__slots__}
        return cls(**found | {name: moment(found[name]) for name in ("from_", "to", "made_at")})


class CorrectionOptions(TypedDict, total=False):
    """What holds in place of what was sent, and where it belongs."""

    value: float
    factor: float
    offset: float
    quality: int
    unit: str
    deviation: str


def corrections(device: str, found: Mapping[str, Any], patience_s: float) -> Flow[list[CorrectionInfo]]:
    path = f"/devices/{segment(device)}/corrections"
    return pages(Items(path, "corrections", CorrectionInfo.of, found), patience_s)


def correct(
    device: str, said: Mapping[str, Any], options: CorrectionOptions, patience_s: float
) -> Flow[CorrectionInfo]:
    said = {**said, **checked(options, CorrectionOptions)}
    path = f"{API}/devices/{segment(device)}/corrections"
    reply = yield from answered(HttpAsk(path, method="POST", body=said, is_read=False), Patience(patience_s))
    return CorrectionInfo.of(reply.json()["versions"][-1])


def withdraw_correction(device: str, correction: int, why: str, patience_s: float) -> Flow[CorrectionInfo]:
    path = f"{API}/devices/{segment(device)}/corrections/{correction}/withdraw"
    reply = yield from answered(HttpAsk(path, method="POST", body={"why": why}, is_read=False), Patience(patience_s))
    return CorrectionInfo.of(reply.json()["versions"][-1])


def deviations(found: Mapping[str, Any], most: int | None, patience_s: float) -> Flow[list[DeviationInfo]]:
    return pages(Items("/deviations", "deviations", DeviationInfo.of, found), patience_s, most)


def search(found: Mapping[str, Any], patience_s: float) -> Flow[list[FoundText]]:
    answer = yield from read("/search", found, Patience(patience_s))
    return [FoundText.of(one) for one in answer["hits"]]
