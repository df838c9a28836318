"""Reviews of the record by exception: what is taken and what is given."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import BaseModel, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from api.http.bodies import DeviceText, body_config
from api.http.description import Answer, about, example
from api.http.parameters import Instant, ListParameters
from api.shapes.runs import RunText
from api.shapes.signatures import SignatureAnswer

ExceptionKind: TypeAlias = Literal[
    "setpoint",
    "command",
    "rule",
    "channel",
    "correction",
    "sample",
    "run",
    "silenced",
    "route",
    "gap",
    "quarantine",
    "clock",
    "signature",
    "data",
    "device",
    "access",
    "system",
    "other",
]
MOST_EXCEPTIONS = 2000
MOST_DAYS = 400


class ReviewException(Answer):
    key: Annotated[str, about("of its content: an exception whose content changes gets another key")]
    kind: ExceptionKind
    at: str
    device: str | None
    who: str | None
    what: str
    subject: str | None
    before: Annotated[Any, about("state before, as the trail has it")]
    after: Annotated[Any, about("state afterwards, or what was found")]
    why: str | None
    n: Annotated[int | None, about("the row of the audit trail; null: it was found in the data")]


class ReviewLook(Answer):
    key: str
    who: str
    at: str
    note: str


class ReviewAnswer(Answer):
    review: Annotated[int, about("its number; a signature names it `review/7`")]
    version: int
    run: str | None
    devices: Annotated[list[str], about("none: the whole organization")]
    begin: str
    end: str
    who: str
    at: Annotated[str, about("when this version was gathered")]
    n: Annotated[int, about("the newest row of the audit trail that was looked through")]
    exceptions: Annotated[int, about("how many there are")]
    open: Annotated[int, about("how many nobody has looked at")]


class ReviewDetail(Answer):
    review: int
    version: int
    run: str | None
    devices: list[str]
    begin: str
    end: str
    who: str
    at: str
    n: int
    hash: Annotated[str, about("of that row")]
    digest: Annotated[str, about("of the review with all that was said of it: what a signature is bound to")]
    signatures: list[SignatureAnswer]
    exceptions: list[ReviewException]
    looks: list[ReviewLook]
    routine: Annotated[dict[str, int], about("rows of the scope that are no exception, by action")]
    stale: Annotated[
        list[ReviewException], about("what is in the scope now and was not when this version was gathered")
    ]


REVIEW = example(
    ReviewAnswer,
    """{"review": 7, "version": 1, "run": "B-2026-041", "devices": ["br-1"], "begin": "2026-11-01T08:00:00.000000Z",
 "end": "2026-11-15T08:00:00.000000Z", "who": "eva@example.com", "at": "2026-11-20T07:45:00.000000Z", "n": 4711,
 "exceptions": 1, "open": 0}""",
)
DETAIL = example(
    ReviewDetail,
    """{"review": 7, "version": 1, "run": "B-2026-041", "devices": ["br-1"], "begin": "2026-11-01T08:00:00.000000Z",
 "end": "2026-11-15T08:00:00.000000Z", "who": "eva@example.com", "at": "2026-11-20T07:45:00.000000Z", "n": 4711,
 "hash": "9f2c61d6b1f0c3c2f5f9e0a4a1c7d6b0e4d3f8a5b7c9120f3e6d8a1b2c4f5e60",
 "digest": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", "signatures": [],
 "exceptions": [{"key": "0f3e6d8a1b2c4f5e", "kind": "silenced", "at": "2026-11-03T02:10:00.000000Z", "device": "br-1",
 "who": "ida@example.com", "what": "alarm shelve", "subject": "alarm/br-1/ph-high", "before": "active",
 "after": {"state": "shelved", "until": "2026-11-03T04:10:00+00:00"}, "why": "the probe is being calibrated",
 "n": 4310}],
 "looks": [{"key": "0f3e6d8a1b2c4f5e", "who": "eva@example.com", "at": "2026-11-20T07:50:00.000000Z",
 "note": "the calibration is in the shift log"}],
 "routine": {"sample take": 14}, "stale": []}""",
)


class ReviewParameters(ListParameters):
    run: str | None = Field(None, min_length=1, max_length=100, description="only of this run")
    device: str | None = Field(None, max_length=64, description="only of this device, or of runs with it")


class NewReview(BaseModel):
    """The body of a new review: of a run, of devices and a time, or of the organization and a time."""

    model_config = body_config(run="B-2026-041")

    run: RunText | None = None
    device: list[DeviceText] = Field([], max_length=100, description="names; none: the whole organization")
    from_: Instant | None = Field(None, alias="from", description="first instant; of a run its start")
    to: Instant | None = Field(None, description="end, not part of it; without it the end of the run, or now")

    @model_validator(mode="after")
    def _has_a_scope(self) -> Self:
        if (self.run is None) == (self.from_ is None):
            raise PydanticCustomError("scope", "give `run`, or `from` for a time", {"parameter": "from"})
        if self.run is not None and (self.device or self.to is not None):
            raise PydanticCustomError("scope", "a run has its devices and its time already", {"parameter": "run"})
        return self


class NewLook(BaseModel):
    """The body by which somebody says that an exception was looked at."""

    model_config = body_config(key="0f3e6d8a1b2c4f5e", note="the calibration is in the shift log")

    key: str = Field(pattern="^[0-9a-f]{16}$", description="of the exception")
    note: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1000)] = Field(
        description="what was found, for the review and for the audit trail"
    )
