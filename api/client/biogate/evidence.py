"""Evidence: bundles that verify.py checks without the product, and reviews of the record by exception."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from biogate.asking import CutShort, Flow, HttpAsk, Patience, Work, answered
from biogate.calls import API, Items, pages
from biogate.export import Target
from biogate.infos import Content, moment
from biogate.questions import query


@dataclass(frozen=True, slots=True)
class ReviewInfo:
    """A review of the record: of a run, or of devices (none: the organization) in a time. Nobody has looked at
    `open` of its exceptions."""

    review: int
    version: int
    run: str | None
    devices: tuple[str, ...]
    begin: datetime
    end: datetime
    who: str
    at: datetime
    exceptions: int
    open: int

    @classmethod
    def of(cls, content: Content) -> ReviewInfo:
        found = {name: content[name] for name in cls.__slots__} | {"devices": tuple(content["devices"])}
        return cls(**found | {name: moment(content[name]) for name in ("begin", "end", "at")})


class LinesBody:
    """A sink for a file of lines, which has its name once it is whole; an attempt begins it anew."""

    def __init__(self, path: Path) -> None:
        self._path, self._part = path, path.with_name(f"{path.name}.part")
        self._last = b""

    @property
    def kept(self) -> int:
        return 0

    def headers(self) -> dict[str, str]:
        return {}

    def begin(self, status: int, headers: Mapping[str, str]) -> None:
        self._part.write_bytes(b"")
        self._last = b""

    def write(self, content: bytes) -> None:
        with self._part.open("ab") as file:
            file.write(content)
        self._last = content[-1:] or self._last

    def end(self) -> None:
        if self._last != b"\n":
            raise CutShort("the last line is not whole")

    def keep(self) -> None:
        self._part.replace(self._path)


def evidence(found: Mapping[str, Any], target: Target) -> Flow[Path]:
    target.check()
    body = LinesBody(target.path)
    yield from answered(HttpAsk(f"{API}/evidence", query(found), sink=body), Patience(target.patience_s))
    yield Work(body.keep)
    return target.path


def reviews(found: Mapping[str, Any], patience_s: float) -> Flow[list[ReviewInfo]]:
    return pages(Items("/reviews", "reviews", ReviewInfo.of, found), patience_s)


def review(body: Mapping[str, Any], patience_s: float) -> Flow[Mapping[str, Any]]:
    said = {name: value for name, value in body.items() if value is not None}
    ask = HttpAsk(f"{API}/reviews", method="POST", body=said, is_read=False)
    reply = yield from answered(ask, Patience(patience_s))
    answer: Mapping[str, Any] = reply.json()
    return answer
