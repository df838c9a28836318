"""The audit trail: the answers, with an example of each."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from api.http.description import Answer, about, example
from api.http.parameters import StreamParameters
from api.http.run_times import RunSpanParameters


class AuditEvent(Answer):
    n: Annotated[int, about("its number in the organization's chain, from 1, without a gap")]
    at: str
    who: str
    action: str
    subject: str
    old: Annotated[Any, about("state before; null where it says nothing")]
    new: Annotated[Any, about("state afterwards; null where it says nothing")]
    why: str
    hash: Annotated[str, about("SHA-256 over the event and the hash before it, hexadecimal")]


class Verification(Answer):
    organization: str
    events: int
    first_at: str | None
    last_at: str | None
    last_n: int | None
    last_hash: Annotated[
        str | None,
        about(
            "hexadecimal. Nobody can see that events were cut off at the end, unless this and last_n are kept "
            "elsewhere and compared with the audit trail later"
        ),
    ]
    faults: Annotated[
        list[int],
        about("numbers of events that are not what was written, or before which events are missing; at most 1000"),
    ]
    whole: Annotated[bool, about("true: no faults")]


class AuditFilter(RunSpanParameters):
    subject: str | None = Field(None, max_length=1000, description="only of this subject, like device/br-1")
    action: str | None = Field(None, max_length=100, description="only actions that begin so, like `device`")
    who: str | None = Field(None, max_length=1000, description="only what they have done; an e-mail address, or a key")
    order: Literal["asc", "desc"] = Field("desc", description="desc: newest first; asc: oldest first")


class AuditParameters(AuditFilter, StreamParameters):
    """The filter, and the page."""


EVENT = example(
    AuditEvent,
    """{"n": 4711, "at": "2026-11-20T07:45:00.000000Z", "who": "eva@example.com", "action": "device suspend",
 "subject": "device/br-1", "old": {"state": "active"}, "new": {"state": "suspended"},
 "why": "the probe is being changed", "hash": "9f2c61d6b1f0c3c2f5f9e0a4a1c7d6b0e4d3f8a5b7c9120f3e6d8a1b2c4f5e60"}""",
)
VERIFICATION = example(
    Verification,
    """{"organization": "main", "events": 4711, "first_at": "2026-01-07T09:12:44.010000Z",
 "last_at": "2026-11-20T07:45:00.000000Z", "last_n": 4711,
 "last_hash": "9f2c61d6b1f0c3c2f5f9e0a4a1c7d6b0e4d3f8a5b7c9120f3e6d8a1b2c4f5e60", "faults": [], "whole": true}""",
)
