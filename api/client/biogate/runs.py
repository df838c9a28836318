"""Runs: what they are, their curves on one clock, and how they compare with others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict

from biogate import calls, questions
from biogate.asking import Flow, HttpAsk, Patience, answered, segment
from biogate.calls import API, Items
from biogate.infos import Content, moment, moment_or_none
from biogate.questions import Names, names

if TYPE_CHECKING:
    import pandas as pd


Columns: TypeAlias = Mapping[tuple[str, ...], Sequence[float | None]]


class AlignOptions(TypedDict, total=False):
    """Which part of runs is laid over each other."""

    phase: str
    """Hour 0 is the begin of this phase, and runs are read up to its end; without it the start of the run."""
    begin: float
    """First hour, which may be before 0."""
    end: float
    """Last hour; the end of the longest run, or phase, if not given."""
    max_points: int
    unit: Names
    quality: str


class EnvelopeOptions(AlignOptions, total=False):
    """How the band of an envelope is made."""

    k: float
    """It is mean ± k standard deviations; 3 if not given."""
    quantiles: Sequence[float]
    """Instead: between these two, like (0.05, 0.95), around the median."""
    least: int
    """How many references must have a value at a time."""


@dataclass(frozen=True, slots=True)
class PhaseInfo:
    """A phase of a run; `ends` is None while it lasts. `status` is confirmed or proposed."""

    phase: str
    begins: datetime
    ends: datetime | None
    hours: float
    status: str
    evidence: str | None

    @classmethod
    def of(cls, content: Content) -> PhaseInfo:
        found = {name: content[name] for name in cls.__slots__}
        return cls(**found | {"begins": moment(content["begins"]), "ends": moment_or_none(content["ends"])})


@dataclass(frozen=True, slots=True)
class RunInfo:
    """A run; `begins` is None while it is planned, `ends` while it is not over. A list of runs says no phases."""

    run: str
    state: str
    devices: tuple[str, ...]
    material: str | None
    strain: str | None
    recipe: str | None
    recipe_version: str | None
    note: str | None
    begins: datetime | None
    ends: datetime | None
    hours: float | None
    phases: tuple[PhaseInfo, ...]

    @classmethod
    def of(cls, content: Content) -> RunInfo:
        found = {name: content[name] for name in cls.__slots__ if name != "phases"} | {
            "devices": tuple(content["devices"]),
            "begins": moment_or_none(content["begins"]),
            "ends": moment_or_none(content["ends"]),
        }
        return cls(**found, phases=tuple(PhaseInfo.of(one) for one in content.get("phases", ())))


@dataclass(frozen=True)
class AlignedRuns:
    """Curves of runs, or of an envelope, on one clock of hours."""

    hours: Sequence[float]
    columns: Columns
    """Means of buckets by (run, device, channel), or of an envelope by (channel, middle, low or high)."""
    keys: tuple[str, ...]
    """What the parts of a column's name are."""
    units: Mapping[str, str | None]
    bucket: str
    warnings: Sequence[str]

    def to_pandas(self) -> pd.DataFrame:
        """Return a DataFrame with hours as its index. A part of the columns' names that is always the same is left out:
        one channel of several runs has a column for each run."""
        import pandas as pd  # noqa: PLC0415  # takes 0.3 s, and not everybody has it

        columns = pd.MultiIndex.from_tuples(list(self.columns), names=self.keys)
        values = dict(enumerate(self.columns.values()))
        frame = pd.DataFrame(values, index=pd.Index(self.hours, name="hours"), dtype="float64")
        frame.columns = columns
        same = [name for name in self.keys if columns.get_level_values(name).nunique() == 1]
        if len(same) < len(self.keys):
            frame.columns = frame.columns.droplevel(same)
        frame.attrs = {"units": dict(self.units), "bucket": self.bucket, "warnings": list(self.warnings)}
        return frame


@dataclass(frozen=True)
class RunScore:
    """How a run compares with an envelope: percent of its time inside, and where it left the band."""

    run: str
    score: float | None
    channels: Mapping[str, float | None]
    excursions: Sequence[Mapping[str, Any]]
    """Each with channel, device, begin, end and duration in hours, worst hour, value and distance from the band."""

    def to_pandas(self) -> pd.DataFrame:
        """Return the excursions as a DataFrame, longest first."""
        import pandas as pd  # noqa: PLC0415

        return pd.DataFrame(list(self.excursions))


def listed(found: Mapping[str, Any], most: int | None, patience_s: float) -> Flow[list[RunInfo]]:
    return calls.pages(Items("/runs", "runs", RunInfo.of, found), patience_s, most)


def one(run: str, patience_s: float) -> Flow[RunInfo]:
    answer = yield from calls.read(f"/runs/{segment(run)}", {}, Patience(patience_s))
    return RunInfo.of(answer)


def phases(run: str, patience_s: float) -> Flow[list[PhaseInfo]]:
    answer = yield from calls.read(f"/runs/{segment(run)}/phases", {}, Patience(patience_s))
    return [PhaseInfo.of(it) for it in answer["phases"]]


def align(runs: Names, channels: Names, options: AlignOptions, patience_s: float) -> Flow[AlignedRuns]:
    given = questions.checked(options, AlignOptions)
    body = {"runs": list(names(runs)), "channel": list(names(channels)), **_said(given)}
    answer = yield from _asked("/runs/compare", body, patience_s)
    columns: Columns = {(it["run"], it["device"], it["channel"]): it["values"] for it in answer["series"]}
    units = {it["channel"]: it["unit"] for it in answer["series"]}
    keys = ("run", "device", "channel")
    return AlignedRuns(answer["hours"], columns, keys, units, answer["bucket"], answer["warnings"])


def compare(runs: Names, channels: Names, patience_s: float) -> Flow[pd.DataFrame]:
    import pandas as pd  # noqa: PLC0415  # takes 0.3 s, and not everybody has it

    rows: list[dict[str, Any]] = []
    for run in names(runs):
        path = f"/runs/{segment(run)}/statistics"
        answer = yield from calls.read(path, {"channel": list(names(channels))}, Patience(patience_s))
        rows += [{"run": run, **it, "phase": it["phase"] or "whole run"} for it in answer["statistics"]]
    frame = pd.DataFrame(rows)
    return frame.set_index(["channel", "phase", "run"]).sort_index() if rows else frame


def envelope(references: Names, channels: Names, options: EnvelopeOptions, patience_s: float) -> Flow[AlignedRuns]:
    answer = yield from _enveloped(references, (), channels, options, patience_s)
    parts = ("middle", "low", "high")
    columns: Columns = {(it["channel"], part): it[part] for it in answer["envelopes"] for part in parts}
    units = {it["channel"]: it["unit"] for it in answer["envelopes"]}
    return AlignedRuns(answer["hours"], columns, ("channel", "edge"), units, answer["bucket"], answer["warnings"])


def score(run: str, references: Names, channels: Names, options: EnvelopeOptions, patience_s: float) -> Flow[RunScore]:
    answer = yield from _enveloped(references, (run,), channels, options, patience_s)
    found = next((it for it in answer["scores"] if it["run"] == run), None)
    if found is None:
        return RunScore(run, None, {}, [])
    channels_scored = {it["channel"]: it["score"] for it in found["channels"]}
    return RunScore(run, found["score"], channels_scored, found["excursions"])


def _enveloped(
    references: Names, runs: Names, channels: Names, options: EnvelopeOptions, patience_s: float
) -> Flow[Any]:
    given = questions.checked(options, EnvelopeOptions)
    body = {"references": list(names(references)), "runs": list(names(runs)), "channel": list(names(channels))}
    return (yield from _asked("/runs/envelope", body | _said(given), patience_s))


def _said(given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: list(names(value)) if name == "unit" else value for name, value in given.items()}


def _asked(path: str, body: Mapping[str, Any], patience_s: float) -> Flow[Any]:
    reply = yield from answered(HttpAsk(f"{API}{path}", method="POST", body=body), Patience(patience_s))
    return reply.json()
