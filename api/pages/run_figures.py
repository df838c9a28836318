"""The figures of each phase of a run, beside what was planned; on a page of their own, as they read every sample."""

from __future__ import annotations

from typing import Any, NamedTuple

from fastapi import Response

from api.access.guard import Db, allow
from api.access.roles import Role, Scope
from api.database import Database
from api.pages.page import OrganizationPage, PageRouter, is_partial
from api.pages.run_charts import FIRST_CHANNELS, channels_of
from api.pages.runs import RunName
from api.problems import ApiError
from api.queries import run_statistics, runs
from api.queries.runs import StoredRun
from api.shapes.run_comparison import PhaseStatistics, StatisticsParameters

router = PageRouter(*(allow(Role.VIEWER, scope) for scope in (Scope.DEVICES_READ, Scope.TELEMETRY_READ)))


class PhaseFigures(NamedTuple):
    """The figures of a channel in a phase, and the mean of what was planned for it then; None: nothing was."""

    of: PhaseStatistics
    planned: float | None


@router.get("/runs/{run}/figures")
async def figures(page: OrganizationPage, database: Db, run: RunName) -> Response:
    stored = await runs.stored(database, run)
    found, trouble = [], None
    try:
        found = await _figures(database, stored) if stored.begins is not None else []
    except ApiError as error:  # a long run may have more samples than can be read in time
        trouble = error.detail
    values: dict[str, Any] = {"run": run, "figures": found, "several": len(stored.devices) > 1, "trouble": trouble}
    part = is_partial(page.request)
    return page.show("partials/run_figures.html" if part else "pages/run_figures.html", here="runs", **values)


async def _figures(database: Database, run: StoredRun) -> list[PhaseFigures]:
    """Return the figures of the channels that are planned, and of those that the run's charts show."""
    profiles = run.profiles
    known = await channels_of(database, run.devices) if run.devices else []
    wanted = [one.channel for one in profiles if one.channel in known] + known[:FIRST_CHANNELS]
    if not wanted:
        return []
    planned = {
        (one.device, one.channel, one.phase): one.planned
        for one in ((await run_statistics.plan(database, run.name)).deviations if profiles else [])
    }
    asked = StatisticsParameters(channel=list(dict.fromkeys(wanted)))
    found = await run_statistics.statistics(database, run.name, asked)
    return [
        PhaseFigures(one, planned.get((one.device, one.channel, one.phase)))
        for one in sorted(found.statistics, key=lambda one: (wanted.index(one.channel), one.device, one.begins))
        if one.count
    ]
