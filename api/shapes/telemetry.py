"""Samples over time: the answer, with examples."""

from __future__ import annotations

from typing import Annotated, Literal

from api.http.description import Answer, Following, Truncated, about, example
from api.http.parameters import Applied
from api.shapes.corrections import CorrectedTime


class Column(Answer):
    channel: str
    unit: str | None
    aggregate: Annotated[str | None, about("null for raw samples")]
    computed: Annotated[bool, about("true: by a formula, when it is read; docs/computed.md")]


class Original(Answer):
    """What was sent in place of a sample that is corrected."""

    value: float | None
    quality: int
    correction: Annotated[int, about("the number of the correction")]


class TelemetryAnswer(Answer, rename={"from_": "from"}):
    device: str
    from_: Annotated[str, about("first instant of the range")]
    to: Annotated[str, about("end of the range; not part of it")]
    bucket: Annotated[str | None, about("width of a bucket; null for raw samples")]
    quality: Annotated[Literal["good", "all"], about("good: only samples of quality 0; all: every one")]
    corrections: Annotated[Applied, about("whether those that there are were applied")]
    corrected: Annotated[list[CorrectedTime], about("corrections of these channels in that time, applied or not")]
    as_of: Annotated[str | None, about("what was known then; null: what is known now")]
    columns: Annotated[list[Column], about("what stands in a row after its time")]
    rows: Annotated[
        list[list[str | float | None]],
        about(
            "time, then one value a column. Raw: one row a frame, null where the frame has no wanted sample of the "
            "channel; two rows may have one time if a controller sends its channels in parts. Buckets: the time is the "
            "begin; a bucket without any sample is absent, a channel without one in it is null (count: 0)"
        ),
    ]
    qualities: Annotated[
        list[list[int | None]] | None,
        about(
            "raw with quality=all: for each row one quality a column (0 good, 1 bad, 2 uncertain, null: not sent); "
            "else null"
        ),
    ]
    originals: Annotated[
        list[list[Original | None]] | None,
        about(
            "raw with corrections=applied, if there are some: for each row one entry a column, null where the sample "
            "is as it was sent; else null"
        ),
    ]
    truncated: Truncated
    next: Following
    warnings: list[str]


TELEMETRY = example(
    TelemetryAnswer,
    """{"device": "br-1", "from": "2026-11-20T07:45:00.000000Z", "to": "2026-11-20T08:45:00.000000Z",
 "bucket": null, "quality": "good", "corrections": "none", "corrected": [], "as_of": null, "columns":
 [{"channel": "ph", "unit": "pH", "aggregate": null, "computed": false},
 {"channel": "temperature", "unit": "°C", "aggregate": null, "computed": false}],
 "rows": [["2026-11-20T07:45:00.000000Z", 7.02, 36.9], ["2026-11-20T07:45:01.000000Z", 7.02, null]],
 "qualities": null, "originals": null, "truncated": true,
 "next": "WyI1ZmQ4MWM0Y…", "warnings": []}""",
)
BUCKETS = example(
    TelemetryAnswer,
    """{"device": "br-1", "from": "2026-11-20T07:45:00.000000Z", "to": "2026-11-20T08:45:00.000000Z",
 "bucket": "1m", "quality": "good", "corrections": "applied", "corrected": [], "as_of": null, "columns":
 [{"channel": "ph", "unit": "pH", "aggregate": "avg", "computed": false},
 {"channel": "ph", "unit": "1", "aggregate": "count", "computed": false}],
 "rows": [["2026-11-20T07:45:00.000000Z", 7.021, 60],
 ["2026-11-20T07:47:00.000000Z", 7.019, 58]], "qualities": null, "originals": null, "truncated": false, "next": null,
 "warnings": []}""",
)
