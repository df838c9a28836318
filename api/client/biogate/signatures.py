"""Signatures of records, and acts that wait for a second person."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from biogate.asking import Flow, HttpAsk, Patience, answered
from biogate.calls import API, Items, pages, read
from biogate.infos import Content, moment, moment_or_none


@dataclass(frozen=True, slots=True)
class SignatureInfo:
    """A signature; `intact` is whether the version that was signed is as it was, `newest` whether the record is still
    that, `text` the signature as canonical JSON."""

    id: int
    record: str
    version: int
    digest: str
    meaning: str
    name: str
    who: str
    at: datetime
    intact: bool
    newest: bool
    version_now: int | None
    state_now: str | None
    changed_at: datetime | None
    text: str

    @classmethod
    def of(cls, content: Content) -> SignatureInfo:
        found = {name: content[name] for name in cls.__slots__}
        found |= {"at": moment(content["at"]), "changed_at": moment_or_none(content["changed_at"])}
        return cls(**found)


@dataclass(frozen=True, slots=True)
class RecordInfo:
    """A record as it is now: `form` is its canonical JSON, `digest` the SHA-256 of that; None: it is there no more."""

    record: str
    version: int | None
    digest: str | None
    form: str | None
    signatures: tuple[SignatureInfo, ...]

    @classmethod
    def of(cls, content: Content) -> RecordInfo:
        found = {name: content[name] for name in cls.__slots__}
        return cls(**found | {"signatures": tuple(SignatureInfo.of(one) for one in content["signatures"])})


@dataclass(frozen=True, slots=True)
class PendingActInfo:
    """An act that waits for a second person, or has waited; `digest` is what that person signs."""

    id: int
    kind: str
    subject: str
    request: Mapping[str, Any]
    who: str
    why: str
    asked_at: datetime
    expires_at: datetime
    state: str
    decided_by: str | None
    reason: str | None
    result: Mapping[str, Any] | None
    digest: str

    @classmethod
    def of(cls, content: Content) -> PendingActInfo:
        found = {name: content[name] for name in cls.__slots__}
        return cls(**found | {name: moment(content[name]) for name in ("asked_at", "expires_at")})


def record(name: str, patience_s: float) -> Flow[RecordInfo]:
    answer = yield from read("/signatures", {"record": name}, Patience(patience_s))
    return RecordInfo.of(answer)


def sign(body: Mapping[str, Any], patience_s: float) -> Flow[SignatureInfo]:
    return SignatureInfo.of((yield from _posted("/signatures", body, patience_s)))


def pending_acts(found: Mapping[str, Any], most: int | None, patience_s: float) -> Flow[list[PendingActInfo]]:
    return pages(Items("/pending-acts", "acts", PendingActInfo.of, found), patience_s, most)


def decide(number: int, what: str, body: Mapping[str, Any], patience_s: float) -> Flow[PendingActInfo]:
    """Confirm or refuse an act."""
    return PendingActInfo.of((yield from _posted(f"/pending-acts/{number}/{what}", body, patience_s)))


def _posted(path: str, body: Mapping[str, Any], patience_s: float) -> Flow[Any]:
    said = {name: value for name, value in body.items() if value is not None}
    ask = HttpAsk(f"{API}{path}", method="POST", body=said, is_read=False)
    return (yield from answered(ask, Patience(patience_s))).json()
