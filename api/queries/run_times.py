"""Where times are those of a run: `placed` turns a question about a run into one about a time and devices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Generic, TypeVar

from api.access.roles import Principal
from api.database import Database, Server
from api.http.parameters import FeedParameters, listed
from api.http.run_times import Placed, RunSpanParameters, instant, within
from api.problems import BadParameter, Conflict
from api.queries import runs
from api.queries.runs import StoredRun
from api.shapes.selection import SelectionParameters
from schema.times import Span

Kind = TypeVar("Kind", bound=RunSpanParameters)


@dataclass(frozen=True, slots=True)
class PlacedQuestion(Generic[Kind]):
    """A question with times that are instants."""

    asked: Kind
    devices: list[str] | None
    """Only of these; None: of all that fit."""

    @property
    def span(self) -> Span:
        return self.asked.span()


def _span(run: StoredRun, phase: str | None) -> Span:
    """Return the time of a run, or of its phase. Raises BadParameter for a run that has not started, NotFound."""
    try:
        return run.span_of(phase)
    except Conflict as error:
        raise BadParameter("run", f"{run.name} has not started") from error


async def placed(database: Database, asked: Kind, device: str | None = None) -> PlacedQuestion[Kind]:
    """Return a question about a list with the time and the devices of its run, or as it is without one. `device`: the
    only one that is meant. Raises NotFound, and BadParameter, also for a run that has not started."""
    if asked.run is None:
        if asked.phase is not None:
            raise BadParameter("phase", "is one of a run: name it by `run`")
        instant("from", asked.from_)
        instant("to", asked.to)
        return PlacedQuestion(asked, None if device is None else [device])
    run = await runs.stored(database, asked.run)
    time = within(asked, _span(run, asked.phase))
    update = {"from_": time.begin, "to": time.end}
    return PlacedQuestion(asked.model_copy(update=update), members(run, [] if device is None else [device]))


async def placed_span(database: Database, asked: Placed, devices: Sequence[str]) -> Span | None:
    """Return the time that is asked for of the run of these devices; None without a run. Errors as of `placed`."""
    if asked.run is None:
        if asked.phase is not None:
            raise BadParameter("phase", "is one of a run: name it by `run`")
        return None
    run = await runs.stored(database, asked.run)
    members(run, devices)
    return within(asked, _span(run, asked.phase))


Samples = TypeVar("Samples", bound=SelectionParameters)


async def placed_selection(database: Database, asked: Samples) -> tuple[Samples, Span | None]:
    """Return a question about samples with the time and the devices of its run, and the time of the run or phase, from
    whose begin hours count. Without a run: as it is, and None."""
    if asked.run is None:
        return asked, None
    run = await runs.stored(database, asked.run)
    span = _span(run, asked.phase)
    time = within(asked, span)
    given = listed([], asked.device)
    members(run, [name for name in given if not _is_pattern(name)])
    chosen = [one for one in run.devices if not given or any(fnmatchcase(one, name) for name in given)]
    if not chosen:
        raise BadParameter("run", f"no device of run {run.name} fits")
    update: dict[str, object] = {"run": None, "phase": None, "from_": time.begin, "to": time.end, "device": chosen}
    return asked.model_copy(update=update), span


def _is_pattern(name: str) -> bool:
    return "*" in name or "?" in name


Feed = TypeVar("Feed", bound=FeedParameters)


async def placed_feed(server: Server, listener: Principal, asked: Feed) -> Feed:
    """Return what is asked of a live feed with the devices of its run. Errors as of `placed`."""
    if asked.run is None:
        return asked
    run = await runs.stored(server.of(listener.organization_id or 0), asked.run)
    return asked.model_copy(update={"device": ",".join(members(run, listed([], [asked.device or ""])))})


def members(run: StoredRun, devices: Sequence[str]) -> list[str]:
    """Return those devices of a run, or all of it. Raises BadParameter for one that is not in the run."""
    for one in devices:
        if one not in run.devices:
            said = ", ".join(run.devices) or "no device"
            raise BadParameter("run", f"{one} is not in run {run.name}, which has {said}")
    return list(devices) or run.devices
