"""What people have recorded: deviations, and search by words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from biogate.asking import Flow, Patience
from biogate.calls import Items, pages, read
from biogate.infos import Content, moment, moment_or_none


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


def deviations(found: Mapping[str, Any], most: int | None, patience_s: float) -> Flow[list[DeviationInfo]]:
    return pages(Items("/deviations", "deviations", DeviationInfo.of, found), patience_s, most)


def search(found: Mapping[str, Any], patience_s: float) -> Flow[list[FoundText]]:
    answer = yield from read("/search", found, Patience(patience_s))
    return [FoundText.of(one) for one in answer["hits"]]
