"""Lab samples and records of material as tables, and the flows behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from biogate.asking import Flow, HttpAsk, Patience, answered
from biogate.calls import API, PAGE, Items, pages, read
from biogate.infos import moment
from biogate.questions import When, when

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

HEAD = ("sample", "device", "run", "taken_at", "location", "status", "note")
MATERIAL = (
    *("number", "device", "run", "direction", "kind", "material", "lot", "quantity", "unit", "begins", "ends", "note"),
    *("source", "who"),
)
TIMES = frozenset({"taken_at", "begins", "ends"})


@dataclass(frozen=True)
class LabTable:
    """Rows with the same columns, in the order in which the API gives them."""

    columns: Sequence[str]
    rows: Sequence[Mapping[str, Any]]
    units: Mapping[str, str | None]
    """The unit of each column that has one, of analytes and of channels."""

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return f"<LabTable: {len(self)} rows, {', '.join(self.columns)}>"

    def to_pandas(self) -> pd.DataFrame:
        """Return a DataFrame with times in UTC; `attrs["units"]` has the units. What was not measured is None or NaN; a
        reading like `< 0.1` is text."""
        import pandas as pd  # noqa: PLC0415  # takes 0.3 s, and not everybody has it

        frame = pd.DataFrame(list(self.rows), columns=list(self.columns))
        for name in TIMES & set(self.columns):
            frame[name] = pd.to_datetime(frame[name], utc=True)
        frame.attrs = {"units": dict(self.units)}
        return frame

    def to_polars(self) -> pl.DataFrame:
        """Return a Polars DataFrame; a column in which a reading is text has texts alone."""
        import polars as pl  # noqa: PLC0415  # not everybody has it

        found = {}
        for name in self.columns:
            values = [row.get(name) for row in self.rows]
            has_text = any(isinstance(value, str) for value in values)
            found[name] = [value if value is None or not has_text else str(value) for value in values]
        return pl.DataFrame(found, infer_schema_length=None)


def samples(found: Mapping[str, Any], joined: Mapping[str, Any], patience_s: float) -> Flow[LabTable]:
    """Return samples page by page, with the values of channels at their times if any are named."""
    path = "/sample-telemetry" if joined["channel"] else "/samples"
    asked = {**found, **(joined if joined["channel"] else {})}
    rows: list[dict[Any, Any]] = []
    cursor: str | None = None
    while True:
        answer = yield from read(path, {**asked, "limit": PAGE, "cursor": cursor}, Patience(patience_s))
        channels = [(True, one["channel"], one["unit"]) for one in answer.get("columns", ())]
        for one in answer["samples"]:
            row: dict[Any, Any] = {name: one[name] for name in HEAD} | {"taken_at": moment(one["taken_at"])}
            for it in one["analytes"]:
                row[False, it["analyte"], it["unit"]] = it["reading"] if it["value"] is None else it["value"]
            rows.append(row | dict(zip(channels, one.get("values", ()), strict=True)))
        cursor = answer["next"]
        if cursor is None:
            return _titled(rows)


def _titled(rows: Sequence[Mapping[Any, Any]]) -> LabTable:
    """Return the rows with columns that have names: with the unit where several have that name, and told apart from
    telemetry of the name of an analyte."""
    said = {key for row in rows for key in row if isinstance(key, tuple)}
    keys = sorted((key for key in said if _meant(key, said) == key), key=lambda it: (it[0], it[1], it[2] or ""))
    titles: dict[Any, str] = {name: name for name in HEAD}
    for key in keys:
        is_channel, name, unit = key
        same = [other for other in keys if other[:2] == key[:2]]
        title = name if len(same) == 1 else f"{name} [{unit or ''}]"
        titles[key] = f"{title} ({'telemetry' if is_channel else 'analyte'})" if title in titles.values() else title
    named = [{titles[_meant(key, said)]: value for key, value in row.items()} for row in rows]
    return LabTable(list(titles.values()), named, {titles[key]: key[2] for key in keys})


def _meant(key: Any, said: Set[Any]) -> Any:
    """Return the key of the column of an analyte of which nobody has said the unit yet: that of the others, if one."""
    if not isinstance(key, tuple) or key[2] is not None:
        return key
    others = [other for other in said if other[:2] == key[:2] and other[2] is not None]
    return others[0] if len(others) == 1 else key


def add_sample(
    device: str, taken_at: When, analytes: Mapping[str, Any], said: Mapping[str, Any], patience_s: float
) -> Flow[str]:
    """Return the name of the new sample."""
    body = {"device": device, "taken_at": when("taken_at", taken_at)}
    body |= {name: value for name, value in said.items() if value is not None}
    rows = [{"analyte": name, **_analyte(value)} for name, value in analytes.items()]
    ask = HttpAsk(f"{API}/samples", method="POST", body={**body, "analytes": rows}, is_read=False)
    reply = yield from answered(ask, Patience(patience_s))
    return str(reply.json()["sample"])


def _analyte(value: Any) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, tuple):
        number, unit = value
        return {"value": number, "unit": unit}
    return {} if value is None else {"value": value}


def materials(found: Mapping[str, Any], patience_s: float) -> Flow[LabTable]:
    """Return the records page by page."""
    rows = yield from pages(Items("/materials", "materials", _material, found), patience_s)
    return LabTable(MATERIAL, rows, {})


def _material(content: Mapping[str, Any]) -> dict[str, Any]:
    said = {name: content[name] for name in MATERIAL}
    return said | {name: moment(said[name]) for name in ("begins", "ends") if said[name] is not None}
