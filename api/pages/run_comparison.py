"""Runs beside each other on a page: overlaid curves, the envelope of references, and what left it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Query, Response
from pydantic import Field, field_validator

from api.access.guard import Db, allow
from api.access.roles import Role, Scope
from api.http.parameters import listed
from api.pages.listing import PageParameters
from api.pages.page import OrganizationPage, PageRouter
from api.pages.run_charts import channels_of, drawn
from api.problems import ApiError
from api.queries import run_alignment, run_envelopes, runs
from api.shapes.run_comparison import MOST_CHANNELS, MOST_RUNS, Comparison, EnvelopeAnswer, EnvelopeQuestion
from api.shapes.runs import RunListParameters
from schema import times

router = PageRouter(*(allow(Role.VIEWER, scope) for scope in (Scope.DEVICES_READ, Scope.TELEMETRY_READ)))
OFFERED, MOST_POINTS, FIRST_CHANNELS = 200, 1000, 3


class ComparisonParameters(PageParameters):
    run: list[str] = Field([], max_length=MOST_RUNS)
    reference: list[str] = Field([], max_length=MOST_RUNS)
    channel: list[str] = Field([], max_length=MOST_CHANNELS)
    phase: str | None = Field(None, max_length=100)
    k: Literal["1", "2", "3"] = "3"

    @field_validator("run", "reference")
    @classmethod
    def _split(cls, given: list[str]) -> list[str]:
        return [one.strip() for one in listed([], given) if one.strip()]


@router.get("/compare")
async def compare(page: OrganizationPage, database: Db, asked: Annotated[ComparisonParameters, Query()]) -> Response:
    newest = await runs.page(database, RunListParameters(), (times.LAST, runs.LAST_ID), OFFERED)
    names = list(dict.fromkeys([*asked.run, *asked.reference]))
    values: dict[str, Any] = {"chart": None, "envelope": None, "channels": [], "trouble": None, "warnings": []}
    if names:
        try:
            values |= await _compared(database, asked, names)
        except ApiError as error:
            values["trouble"] = error.detail
    values |= {"asked": asked, "offered": [runs.item(row) for row in newest if row["begins"] is not None]}
    return page.show("pages/run_compare.html", here="runs", **values)


async def _compared(database: Any, asked: ComparisonParameters, names: list[str]) -> dict[str, Any]:
    stored = [await runs.stored(database, name) for name in names]
    channels = await channels_of(database, sorted({device for one in stored for device in one.devices}))
    wanted = asked.channel or channels[:FIRST_CHANNELS]
    question = {"channel": wanted, "phase": asked.phase, "max_points": MOST_POINTS}
    envelope: EnvelopeAnswer | None = None
    if len(asked.reference) > 1:
        given = {"references": asked.reference, "runs": asked.run, "k": float(asked.k)}
        envelope = await run_envelopes.envelope(database, EnvelopeQuestion.model_validate(question | given))
    shown = asked.run or asked.reference
    found = await run_alignment.align(database, names, Comparison.model_validate(question | {"runs": names}))
    found = run_alignment.only(found, shown)
    bands = {one.channel: one for one in envelope.envelopes} if envelope else {}
    return {
        "chart": drawn(found, bands, [], lambda one: one.run),
        "envelope": envelope,
        "channels": channels,
        "drawn": [one.channel.name for one in found.channels],
        "warnings": found.warnings,
    }
