"""deploy/grafana/dashboards as data, and what Grafana makes of their queries before it sends them.

Grafana replaces variables in the browser, and `$__macros()` of SQL in its server; this does both as its source says
(`templateSrv`, `grafana-postgresql-datasource/macros.go`, with the data source's `timescaledb: true`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from deploy.stack.paths import CHECKOUT

GRAFANA = CHECKOUT / "deploy" / "grafana"
FILES = sorted((GRAFANA / "dashboards").glob("*.json"))
VARIABLE = re.compile(r"\$\{(\w+)(?::(\w+))?\}|\$(\w+)")
MACRO = re.compile(r"\$(__\w+)\(([^)]*)\)")
"""As Grafana has it: nothing with a bracket may be an argument."""
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def read(file: Path) -> dict[str, Any]:
    dashboard: dict[str, Any] = json.loads(file.read_text())
    return dashboard


def panels(dashboard: Mapping[str, Any]) -> list[dict[str, Any]]:
    """But for headings."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def variables(dashboard: Mapping[str, Any]) -> list[dict[str, Any]]:
    return list(dashboard["templating"]["list"])


@dataclass(frozen=True)
class Query:
    """What is asked of a data source, as the file has it. `kind`: prometheus, labels (of it), sql."""

    name: str
    kind: str
    text: str
    form: str
    """time_series, table; or instant, range."""


def queries(dashboard: Mapping[str, Any]) -> Iterator[Query]:
    """Of its variables, annotations and panels."""
    for variable in variables(dashboard):
        name, query = f"${variable['name']}", variable["query"]
        yield (
            Query(name, "sql", query, "table")
            if isinstance(query, str)
            else Query(name, "labels", query["query"], "instant")
        )
    for note in dashboard["annotations"]["list"]:
        target = note.get("target", note)
        yield _query(f"annotation {note['name']}", note["datasource"]["uid"], {"range": True, **target})
    for panel in panels(dashboard):
        for target in panel["targets"]:
            yield _query(f"{panel['title']}/{target['refId']}", target["datasource"]["uid"], target)


def _query(name: str, source: str, target: Mapping[str, Any]) -> Query:
    if source == "timescaledb":
        return Query(name, "sql", target["rawSql"], target["format"])
    return Query(name, "prometheus", target["expr"], "instant" if target.get("instant") else "range")


@dataclass(frozen=True)
class View:
    """What a person looks at: a time, in intervals of so many seconds, with values of variables."""

    begin: datetime
    end: datetime
    interval: int
    values: Mapping[str, str]

    def expand(self, text: str) -> str:
        """Raises ValueError for what Grafana would leave as it is."""
        text = MACRO.sub(self._macro, VARIABLE.sub(self._variable, text))
        if left := re.search(r"\$[\w{]+", text):
            raise ValueError(f"{left[0]} is neither a variable nor a macro")
        return text

    def _variable(self, match: re.Match[str]) -> str:
        name, form = match[1] or match[3], match[2]
        seconds = round((self.end - self.begin).total_seconds())
        own = {
            "__interval": f"{self.interval}s",
            "__interval_ms": str(1000 * self.interval),
            "__rate_interval": f"{max(20, self.interval)}s",
            "__range": f"{seconds}s",
        }
        value = (own | dict(self.values)).get(name)
        if value is None:
            return match[0]
        return "'" + value.replace("'", "''") + "'" if form == "sqlstring" else value

    def _macro(self, match: re.Match[str]) -> str:
        name, arguments = match[1], [argument.strip() for argument in match[2].split(",")]
        begin, end = (f"'{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}'" for moment in (self.begin, self.end))
        match name, arguments:
            case "__timeFilter", [column]:
                return f"{column} BETWEEN {begin} AND {end}"
            case "__timeFrom", [""]:
                return begin
            case "__timeTo", [""]:
                return end
            case "__timeGroup", [column, interval]:
                number, unit = interval[:-1], interval[-1]
                alias = ' AS "time"' if match.string[match.end() :].startswith(",") else ""
                return f"time_bucket('{float(number) * UNITS[unit]:.3f}s',{column}){alias}"
        raise ValueError(f"{match[0]} is no macro that is known here")
