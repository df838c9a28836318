"""One vessel: its charts, its newest values, its alarms and what happened. The charts alone need JavaScript."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlencode

from fastapi import Query, Response
from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from api.access.guard import Db, allow
from api.access.roles import Role, Scope
from api.database import Database
from api.http.parameters import DeviceName, Instant, NoParameters, StrictParameters
from api.http.plain_words import channel as named
from api.pages.analyte_rows import blank
from api.pages.page import OrganizationPage, Page, PageRouter
from api.pages.vessel_acts import commands_shown, new_key
from api.queries import activity, alarms, corrections, deviations, device_cards, lab_samples
from api.queries import annotations as written
from api.queries import vessel as queries
from api.queries.activity import EVER, WantedActivity
from api.queries.vessel import SETPOINT, OneVessel
from api.shapes.alarms import DeviceAlarmParameters
from api.shapes.materials import MATERIAL_KINDS, UNITS
from schema import times

READ = [
    allow(Role.VIEWER, scope)
    for scope in (Scope.TELEMETRY_READ, Scope.DEVICES_READ, Scope.ALARMS_READ, Scope.COMMANDS_READ)
]
"""A page shows what several routes answer: who opens it needs what each of them needs."""
router = PageRouter(*READ, prefix="/app/{organization}/vessels/{device}")
SPANS = {"2h": timedelta(hours=2), "8h": timedelta(hours=8), "24h": timedelta(hours=24)}
NAMES = {"2h": "2 h", "8h": "8 h", "24h": "24 h", "run": "Run"}
USUAL = "8h"
LATELY, STANDING, NOTES, SAMPLES = 12, 50, 10, 5
"""The most lines of what happened, of standing alarms, of notes, and of samples."""
FORMATS = {"csv": "CSV", "arrow": "Arrow", "parquet": "Parquet"}
Nothing = Annotated[NoParameters, Query()]
ChannelName = Annotated[str, Field(min_length=1, max_length=64)]


class VesselParameters(StrictParameters):
    """What one sees, so that a link opens the same."""

    channel: list[ChannelName] = Field([], max_length=64)
    with_: list[ChannelName] = Field([], alias="with", max_length=64)
    """Those of the channels that stand in the chart of the one before."""
    span: Literal["2h", "8h", "24h", "run"] | None = None
    from_: Instant | None = Field(None, alias="from")
    to: Instant | None = None
    axis: Literal["clock", "hours"] = "clock"

    @model_validator(mode="after")
    def _is_one_time(self) -> Self:
        if (self.from_ is None) != (self.to is None) or (self.from_ is not None and self.span is not None):
            raise PydanticCustomError("span", "give `from` and `to`, or a `span`", {"parameter": "from"})
        if self.from_ is not None and self.to is not None and self.from_ >= self.to:
            raise PydanticCustomError("span", "must be before `to`", {"parameter": "from"})
        return self

    def settled(self, inoculated: datetime | None, now: datetime) -> Self:
        """Return these parameters with a span, if they have neither one nor a time: the run, while it is short."""
        if self.from_ is not None or self.span is not None:
            return self
        is_short = inoculated is not None and timedelta(0) < now - inoculated < SPANS[USUAL]
        return self.model_copy(update={"span": "run" if is_short else USUAL})

    def time(self, inoculated: datetime | None, now: datetime) -> times.Span:
        if self.from_ is not None and self.to is not None:
            return times.Span(self.from_, self.to)
        if self.span == "run" and inoculated is not None and inoculated < now:
            return times.Span(inoculated, now)
        return times.Span(now - SPANS.get(self.span or USUAL, SPANS["24h"]), now)

    def query(self, **changed: str | None) -> str:
        """Return the query of the same view, with these parameters changed or left out."""
        given = {"span": self.span, "axis": None if self.axis == "clock" else self.axis} | {
            name: None if value is None else times.text(value)
            for name, value in (("from", self.from_), ("to", self.to))
        }
        pairs = [("channel", one) for one in self.channel] + [("with", one) for one in self.with_]
        pairs += [(name, value) for name, value in (given | changed).items() if value is not None]
        return urlencode(pairs)


@router.get("")
async def vessel(
    page: OrganizationPage, database: Db, device: DeviceName, asked: Annotated[VesselParameters, Query()]
) -> Response:
    found, now = await queries.vessel(database, device), datetime.now(UTC)
    asked = asked.settled(found.inoculated, now)
    shown = queries.charts(found.terms, asked.channel, asked.with_)
    time = asked.time(found.inoculated, now)
    drawn = [one for some in shown for name in some for one in (name, name + SETPOINT) if one in found.terms]
    files = {name: _file(page, device, drawn, time, end) for end, name in FORMATS.items()}
    side, commands = await asyncio.gather(
        _side(page, database, found), commands_shown(page, database, found.number, device)
    )
    return page.show(
        "pages/vessel.html",
        found=found,
        asked=asked,
        charts=shown,
        facts=_facts(found, asked, shown, time, now),
        time=time,
        spans=NAMES,
        span=asked.span,
        files=files,
        key=new_key(),
        lab={"blank": blank(0), "kinds": MATERIAL_KINDS, "units": UNITS},
        here="plant",
        **side,
        **commands,
    )


@router.get("/now")
async def now(
    page: OrganizationPage, database: Db, device: DeviceName, _: Annotated[NoParameters, Query()]
) -> Response:
    """What stands beside the charts, anew."""
    found = await queries.vessel(database, device)
    return page.show("partials/vessel_now.html", found=found, **await _side(page, database, found))


async def _side(page: Page, database: Database, found: OneVessel) -> dict[str, Any]:
    name, before = found.device.device, (times.LAST, "")
    wanted = WantedActivity(activity.permitted(page.member), [name], EVER)
    (reads, standing, happened), (notes, samples, corrected), (linked, due) = await asyncio.gather(
        asyncio.gather(
            queries.readings(database, found.channels),
            alarms.page(database, DeviceAlarmParameters(standing=True), ("", ""), STANDING, device=name),
            activity.page(database, wanted, before, LATELY),
        ),
        asyncio.gather(
            written.page(database, found.number, EVER, (times.LAST, written.LAST_ID), NOTES),
            lab_samples.of_device(database, name, EVER, SAMPLES),
            corrections.holding(database, [name], EVER),
        ),
        asyncio.gather(deviations.of_device(database, name), device_cards.due(database, name)),
    )
    lookers = page.app.hub.lookers(page.member.organization_id, name) - {page.member.who}
    return {
        "lookers": sorted(lookers),
        "readings": reads,
        "standing": [alarms.item(row) for row in standing],
        "happened": [activity.item(row) for row in happened],
        "notes": [written.item(row) for row in notes],
        "samples": samples,
        "corrections": corrected[: -NOTES - 1 : -1],
        "linked_deviations": linked,
        "calibrations": due.get(name, 0),
    }


def _file(page: Page, device: str, channels: list[str], time: times.Span, end: str) -> str:
    """Return the address of the samples that one sees, as a file."""
    pairs = [("device", device), *(("channel", one) for one in channels)]
    pairs += [("from", times.text(time.begin)), ("to", times.text(time.end)), ("quality", "all")]
    pairs += [("corrections", "applied")]  # as the charts are
    return f"/api/v1/telemetry.{end}?{urlencode([*pairs, ('organization', str(page.member.organization))])}"


def _facts(
    found: OneVessel, asked: VesselParameters, shown: list[list[str]], time: times.Span, now: datetime
) -> dict[str, Any]:
    """Return what the charts need to know, for vessel.js."""
    terms = found.terms

    def line(name: str) -> dict[str, Any]:
        one = terms[name]
        setpoint = name + SETPOINT if name + SETPOINT in terms else None
        said = {"title": named(name, one.title), "unit": one.unit, "decimals": one.decimals, "step": one.step}
        return said | {"channel": name, "low": one.low, "high": one.high, "setpoint": setpoint}

    drawn = {name for some in shown for name in some}
    return {
        "device": found.device.device,
        "now": now.timestamp(),
        "span": asked.span,
        "from": time.begin.timestamp(),
        "to": time.end.timestamp(),
        "axis": asked.axis,
        "inoculated": None if found.inoculated is None else found.inoculated.timestamp(),
        "phases": [[one.phase.replace("_", " "), one.since.timestamp()] for one in found.phases],
        "charts": [[line(name) for name in some] for some in shown],
        "rules": [
            {
                "rule": one.rule,
                "title": one.title,
                "priority": one.priority,
                "channel": one.channel,
                "level": one.level,
                "limit": one.limit,
                "phases": [phase.replace("_", " ") for phase in one.phases],
            }
            for one in found.rules
            if one.channel in drawn
        ],
    }
