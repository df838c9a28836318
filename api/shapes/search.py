"""Search by words: what is taken and what is given."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from api.http.description import Answer, about, example
from api.http.parameters import Instant, StrictParameters

SearchKind = Literal["note", "deviation", "comment", "event", "reason", "alarm", "shift"]
MOST_HITS = 200
KINDS = (
    "only these kinds; may be repeated. note: annotations; comment: on deviations; event: of devices; reason: of the "
    "audit trail; alarm: what people said when they acted on one; shift: entries of the shift log"
)


class ExcerptPart(Answer):
    text: str
    hit: Annotated[bool, about("true: it is one of the words")]


class SearchHit(Answer):
    kind: SearchKind
    id: Annotated[
        str, about("of a note, comment, alarm or entry its number, of a deviation its number, else of the event")
    ]
    time: str
    device: str | None
    title: Annotated[str, about("what has the words")]
    who: str | None
    excerpt: Annotated[list[ExcerptPart], about("the text around the words")]


class Found(Answer):
    hits: Annotated[list[SearchHit], about("those with the words oftenest first, of these the newest")]
    truncated: Annotated[bool, about("true: there are more; ask for a shorter time, fewer kinds or more words")]
    events_since: Annotated[
        str | None,
        about("events of devices were looked at from then on; null: all of the time, or none were asked for"),
    ]


HIT = example(
    SearchHit,
    """{"kind": "note", "id": "12", "time": "2026-11-20T07:45:00.000000Z", "device": "br-1", "title": "Note",
 "who": "eva@example.com", "excerpt": [{"text": "pH ", "hit": false}, {"text": "probe", "hit": true},
 {"text": " changed", "hit": false}]}""",
)
FOUND = example(
    Found,
    """{"hits": [{"kind": "note", "id": "12", "time": "2026-11-20T07:45:00.000000Z", "device": "br-1",
 "title": "Note", "who": "eva@example.com", "excerpt": [{"text": "pH ", "hit": false}, {"text": "probe", "hit": true},
 {"text": " changed", "hit": false}]}], "truncated": false, "events_since": null}""",
)


class SearchFilter(StrictParameters):
    q: str = Field(
        min_length=1, max_length=200, description="words that must all be there; the last may be the begin of a word"
    )
    kind: list[SearchKind] = Field([], max_length=7, description=KINDS)
    device: str | None = Field(None, max_length=64, description="only of this device")
    from_: Instant | None = Field(None, alias="from", description="first instant; without it a year before `to`")
    to: Instant | None = Field(None, description="end, not part of it; without it now")


class SearchParameters(SearchFilter):
    limit: int = Field(50, ge=1, le=MOST_HITS, description="most hits")
    format: Literal["json"] | None = None
