"""Tries a rule over stored data for one request: which devices, over what time, and what is told of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

from api.database import Database
from api.http.parameters import recent
from api.http.run_times import instant
from api.jobs.job import Looked
from api.jobs.trial import MOST_PERIODS, MOST_PHASES
from api.jobs.worker import Trials
from api.queries import alarm_rules as rules
from api.queries import devices, rule_warnings, run_times, runs
from api.shapes import alarm_trials as shapes
from api.shapes.alarm_trials import LONGEST_TRIAL, MOST_TRIED, NewTrial
from schema import times
from schema.alarms.rules import Rule


async def tried(
    trials: Trials, database: Database, organization_id: int, asked: NewTrial, gone: Callable[[], Awaitable[bool]]
) -> shapes.Trial:
    """Return when the rule would have fired. Raises NotFound for a device or rule that there is not, and what
    `Trials.run` raises."""
    begin, end, chosen = await _placed(database, asked)
    if asked.definition is not None:
        rule = Rule.model_validate({"name": "tried", **asked.definition.model_dump()})
    else:
        assert asked.rule is not None
        rule = await rules.rule(database, asked.rule)
    warnings = await rule_warnings.warnings(database, rule)
    if chosen is None:
        names = await rules.covered(database, rule.scope, MOST_TRIED + 1)
        if len(names) > MOST_TRIED:
            warnings.append(f"more than {MOST_TRIED} devices are in its scope: these are the first by name")
        names = names[:MOST_TRIED]
    else:
        names = chosen
        for name in names:
            await devices.device_id(database, name)
    found: list[Looked] = []
    if names:
        span = times.microseconds(begin), times.microseconds(end)
        content = rule.model_dump_json().encode()
        found = await trials.run(organization_id, content, names, span, gone)
    return _told(begin, end, found, warnings)


async def _placed(database: Database, asked: NewTrial) -> tuple[datetime, datetime, list[str] | None]:
    """Return the time that is asked for, and the devices; None: those of the rule's scope. Raises BadParameter."""
    time, devices = await run_times.placed_span(database, asked, asked.devices or []), asked.devices
    if asked.run is not None and devices is None:
        devices = (await runs.stored(database, asked.run)).devices
    begin = instant("from", asked.from_) if time is None else time.begin
    end = instant("to", asked.to) if time is None else time.end
    span = recent(begin, end, timedelta(days=1), LONGEST_TRIAL)
    return span.begin, span.end, devices


def _told(begin: datetime, end: datetime, found: list[Looked], warnings: list[str]) -> shapes.Trial:
    complete = all(one.whole for one in found)
    if end > datetime.now(UTC):
        warnings.append("`to` is in the future: more may come")
    if not complete and sum(len(one.periods) for one in found) >= MOST_PERIODS:
        warnings.append(f"it stopped with {MOST_PERIODS} periods: `until` of each device says where")
    elif not complete:
        warnings.append("it took too long and was not finished: `until` of each device says how far it came")
    for one in found:
        if one.too_many_phases:
            warnings.append(f"{one.device} has more than {MOST_PHASES} changes of phase: the later ones were ignored")
    return shapes.Trial(
        from_=times.text(begin),
        to=times.text(end),
        complete=complete,
        devices=[shapes.TriedDevice(device=one.device, frames=one.frames, until=_instant(one.until)) for one in found],
        periods=[
            shapes.Fired(
                device=one.device,
                what=period.what,
                begin=_instant(period.begin),
                end=None if period.end is None else _instant(period.end),
                value=period.value,
                detail=period.detail,
            )
            for one in found
            for period in one.periods
        ],
        warnings=warnings,
    )


def _instant(seconds: float) -> str:
    return times.text(datetime.fromtimestamp(seconds, UTC))
