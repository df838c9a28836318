"""Deviations, with their links, comments and attachments: what is taken and what is given."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool, StringConstraints, model_validator

from api.http.bodies import Email, Order, body_config
from api.http.description import Answer, about, example
from api.http.parameters import Instant, ListParameters, StrictParameters, Words, device_name, printable
from api.shapes.annotations import prose
from api.shapes.devices import MOST_TAGS, Tag

Severity = Literal["minor", "major", "critical"]
DeviationState = Literal["open", "assessed", "closed"]
MemberRole = Literal["owner", "assessor", "reviewer", "informed"]
LinkType = Literal["caused-by", "seen-in", "corrected-by", "relates-to"]
LinkKind = Literal["device", "span", "hole", "alarm", "command", "quarantine", "note", "run", "sample", "deviation"]
REFERENCES = (
    "the thing: `br-1` (device), `br-1/FROM/TO` (span, instants in UTC), `br-1/BOOT/FIRST/LAST` (hole), the number of "
    "a transition (alarm), of a message (quarantine) or of an annotation (note), the id of a command, the name "
    "of a run or a sample, the number of a deviation"
)
MOST_MEMBERS = 32
MOST_ATTACHED_BYTES = 8 * 2**20
"""Bytes of an attachment."""
MOST_ALL_BYTES = 256 * 2**20
"""Bytes of all attachments of an organization."""

DeviationTitle = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200), AfterValidator(printable)
]
Description = Annotated[str, StringConstraints(strip_whitespace=True, max_length=20_000), AfterValidator(prose)]
CommentText = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=10_000), AfterValidator(prose)
]
Reference = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=300)]


class DeviationMember(BaseModel):
    """Somebody who has to do with a deviation."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    who: Email
    role: MemberRole


Members = Annotated[list[DeviationMember], Field(max_length=MOST_MEMBERS)]


class DeviationMemberAnswer(Answer):
    who: str
    role: MemberRole


class DeviationSummary(Answer):
    deviation: Annotated[str, about("its number: of the organization, by the year in which it was opened")]
    title: str
    severity: Severity
    state: DeviationState
    tags: list[str]
    members: list[DeviationMemberAnswer]
    opened_by: str
    opened_at: str
    closed_at: str | None


class DeviationLinkAnswer(Answer):
    id: int
    type: LinkType
    kind: str
    reference: str
    words: Annotated[str | None, about("what it leads to; null: you may not read that, or it is not there any more")]
    device: str | None
    at: Annotated[str | None, about("when that was")]
    rule: Annotated[str | None, about("of an alarm")]
    who: str
    why: str
    linked_at: str


class BackLink(Answer):
    """A link seen from the thing that it leads to."""

    deviation: str
    title: str
    severity: Severity
    state: DeviationState
    type: LinkType
    kind: str
    reference: str


class AttachmentAnswer(Answer):
    id: int
    name: str
    media_type: Annotated[str, about("by its content, whatever its name is")]
    bytes: int
    sha256: str
    who: str
    attached_at: str


class DeviationDetail(DeviationSummary):
    description: str
    hold: Annotated[int | None, about("the hold on data that was made with it")]
    hold_ended_at: str | None
    links: Annotated[list[DeviationLinkAnswer], about("to other things, oldest first")]
    linked_from: Annotated[list[BackLink], about("links of other deviations to this one")]
    attachments: list[AttachmentAnswer]
    comments: Annotated[int, about("how many there are")]
    version: Annotated[int, about("the ETag for If-Match")]


DEVIATION = example(
    DeviationSummary,
    """{"deviation": "DEV-2026-0001", "title": "Temperature above the limit for 40 min", "severity": "major",
 "state": "open", "tags": ["cooling"], "members": [{"who": "eva@example.com", "role": "owner"}],
 "opened_by": "eva@example.com", "opened_at": "2026-11-20T07:45:00.000000Z", "closed_at": null}""",
)
LINK = example(
    DeviationLinkAnswer,
    """{"id": 3, "type": "seen-in", "kind": "alarm", "reference": "4711",
 "words": "Temperature high: unacknowledged, br-1", "device": "br-1",
 "at": "2026-11-20T07:44:59.600000Z", "rule": "temperature-high", "who": "eva@example.com", "why": "found by it",
 "linked_at": "2026-11-20T07:45:00.000000Z"}""",
)
ATTACHMENT = example(
    AttachmentAnswer,
    """{"id": 5, "name": "trend.png", "media_type": "image/png", "bytes": 48123,
 "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", "who": "eva@example.com",
 "attached_at": "2026-11-20T07:45:00.000000Z"}""",
)
DETAIL = DEVIATION | {
    **{"description": "The chiller stood still.", "hold": 3, "hold_ended_at": None, "links": [LINK], "linked_from": []},
    **{"attachments": [ATTACHMENT], "comments": 2, "version": 4},
}


class CommentVersion(Answer):
    version: int
    text: str
    at: str


class CommentAnswer(Answer):
    id: int
    who: str
    at: Annotated[str, about("when it was written first")]
    text: Annotated[str, about("of the newest version")]
    versions: Annotated[list[CommentVersion], about("all, oldest first")]


COMMENT = example(
    CommentAnswer,
    """{"id": 7, "who": "eva@example.com", "at": "2026-11-20T07:45:00.000000Z", "text": "The chiller was off.",
 "versions": [{"version": 1, "text": "The chiller was of.", "at": "2026-11-20T07:45:00.000000Z"},
 {"version": 2, "text": "The chiller was off.", "at": "2026-11-20T07:46:00.000000Z"}]}""",
)


class DeviationFilter(StrictParameters):
    state: list[DeviationState] = Field([], max_length=3, description="only in these states; may be repeated")
    severity: Severity | None = Field(None, description="only of this severity")
    tag: list[Tag] = Field([], max_length=MOST_TAGS, description="only with this tag; repeated: with all of these tags")
    device: str | None = Field(None, max_length=64, description="only with a link to this device or something of it")
    mine: bool = Field(False, description="true: only those that you have opened or are a member of")
    kind: list[LinkKind] = Field([], max_length=1, description="with `reference`: only with a link to this thing")
    reference: str | None = Field(None, max_length=300, description=REFERENCES)

    @model_validator(mode="after")
    def _is_a_thing(self) -> Self:
        if bool(self.kind) != (self.reference is not None):
            raise ValueError("`kind` and `reference` name a thing together")
        return self


class DeviationParameters(DeviationFilter, ListParameters):
    pass


class NewLink(BaseModel):
    model_config = body_config(type="seen-in", kind="alarm", reference="4711", why="it was found by this alarm")

    type: LinkType
    kind: LinkKind
    reference: Reference = Field(description=REFERENCES)
    why: Words = Field(description="the reason")


class FirstLink(BaseModel):
    """The thing from which a deviation is opened."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    type: LinkType = "seen-in"
    kind: LinkKind
    reference: Reference = Field(description=REFERENCES)


class DeviationHold(BaseModel):
    """What of the data a deviation keeps from being dropped."""

    model_config = body_config(device="br-1", begins="2026-11-19T00:00:00Z", ends="2026-11-21T00:00:00Z")

    device: Annotated[str, AfterValidator(device_name)] | None = Field(None, description="without it, all devices")
    begins: Instant | None = Field(None, description="without it, from the oldest data on")
    ends: Instant | None = Field(None, description="without it, all future data too, until the hold is ended")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.begins is not None and self.ends is not None and self.begins >= self.ends:
            raise ValueError("`begins` must be before `ends`")
        return self


class NewDeviation(BaseModel):
    """The body of a new deviation. It has no reason: title and description are one."""

    model_config = body_config(
        title="Temperature above the limit for 40 min", severity="major", link={"kind": "alarm", "reference": "4711"}
    )

    title: DeviationTitle
    description: Description = ""
    severity: Severity
    tags: Annotated[list[Tag], Field(max_length=MOST_TAGS)] = Field([], description="stored sorted, each once")
    members: Members = Field([], description="who has to do with it: members of the organization, by e-mail")
    link: FirstLink | None = Field(None, description="what it is opened from")
    hold: DeviationHold | None = Field(None, description="keep these data; for admins, as every hold is")


class DeviationChange(Order):
    model_config = body_config(severity="critical", why="three vessels were concerned")

    title: DeviationTitle | None = None
    description: Description | None = None
    severity: Severity | None = None
    tags: Annotated[list[Tag], Field(max_length=MOST_TAGS)] | None = Field(None, description="all its tags")
    members: Members | None = Field(None, description="all its members: others are removed")


class DeviationClosing(Order):
    model_config = body_config(why="the chiller was replaced; no effect on the product", end_hold=True)

    end_hold: StrictBool = Field(False, description="end the hold that was made with it; for admins")


class NewComment(BaseModel):
    model_config = body_config(text="The chiller was off.")

    text: CommentText


class CommentEdit(Order):
    model_config = body_config(text="The chiller was off.", why="misspelt")

    text: CommentText


class AttachmentParameters(StrictParameters):
    deviation: str = Field(max_length=20, description="its number", examples=["DEV-2026-0001"])
    name: Annotated[
        str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200), AfterValidator(printable)
    ] = Field(description="what people call the file", examples=["trend.png"])
    why: Words = Field(description="the reason, for the audit trail", examples=["shows the rise"])
