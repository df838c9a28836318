"""Sums of recorded material, and the balance of a device over a time: in − out − change of weight.

Masses are in kg and volumes in L; one becomes the other by a density, which is an assumption and is named.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import groupby
from math import isfinite
from operator import itemgetter
from typing import Any

from api.database import Database
from api.problems import BadParameter
from api.queries import devices, selection, telemetry_at, telemetry_buckets
from api.queries.deadline import Deadline
from api.queries.materials import SQL
from api.queries.run_times import PlacedQuestion
from api.queries.selection import Selection
from api.queries.telemetry_at import AtWish
from api.queries.telemetry_buckets import BucketWish
from api.series.grid import Division
from api.shapes.materials import (
    BalanceParameters,
    ChannelChange,
    FeedTotal,
    MaterialBalance,
    MaterialSum,
    SumParameters,
    direction,
)
from api.shapes.selection import SelectionParameters
from schema import times, units
from schema.times import Span

MINUTE = timedelta(minutes=1)
NEAR = timedelta(minutes=10)
"""How far from the begin or the end of a time a sample may be that stands for it."""
USUAL_WEIGHTS = ("weight", "volume")
TOTAL, SCALE = "_total", "_weight"
FEED = "feed_"


async def sums(database: Database, question: PlacedQuestion[SumParameters]) -> list[MaterialSum]:
    """Return what was recorded of each material of each device, of records that begin in the time."""
    span = question.span
    rows = await database.fetch_planned(SQL["sums"], question.devices, span.begin, span.end)
    return summed(rows, question.asked.density)


def summed(rows: Iterable[Mapping[str, Any]], density: float) -> list[MaterialSum]:
    """Return the sums of rows of one unit each, which are in the order of device, kind and material."""
    found = []
    for (device, kind, material), group in groupby(rows, itemgetter("device", "kind", "material")):
        some = list(group)
        mass = sum(kilograms(row["quantity"], row["unit"], density) or 0.0 for row in some)
        by_density = any(units.DIMENSION_OF[row["unit"]] == "volume" for row in some)
        records = sum(row["records"] for row in some)
        way = direction(kind)
        found.append(MaterialSum(device, way, kind, material, records, mass, mass / density, by_density))
    return found


def kilograms(quantity: float, unit: str | None, density: float) -> float | None:
    """Return a mass, or a volume by its density, in kg; None for what is neither."""
    dimension = units.DIMENSION_OF.get(units.named(unit or ""))
    if unit is None or dimension not in {"mass", "volume"}:
        return None
    if dimension == "mass":
        return units.conversion(unit, "kg").one(quantity)
    return units.conversion(unit, "L").one(quantity) * density


async def balance(database: Database, device: str, question: PlacedQuestion[BalanceParameters]) -> MaterialBalance:
    """Return what went in and out of a device in a time, and what its weight and its feeds say of it. Raises NotFound,
    BadParameter for a channel of the weight that it does not have."""
    asked, span = question.asked, question.span
    known = {channel.name: channel.unit for channel in (await devices.device(database, device)).channels}
    if asked.weight is not None and asked.weight not in known:
        raise BadParameter("weight", f"{device} has never sent a channel {asked.weight}")
    weight = asked.weight or next((name for name in USUAL_WEIGHTS if name in known), None)
    counted = [name for name in known if name.endswith(TOTAL) and kilograms(1, known[name], 1) is not None]
    scales = [name.removesuffix(TOTAL) + SCALE for name in counted]
    wanted = [name for name in dict.fromkeys([weight, *counted, *scales]) if name is not None and name in known]
    changes = await _changes(database, device, wanted, (span, asked.density))
    rows = await database.fetch_planned(SQL["sums"], [device], span.begin, span.end)
    found = summed(rows, asked.density)
    return balanced(device, asked, found, changes, weight=weight, going_on=sum(row["going_on"] for row in rows))


def balanced(
    device: str,
    asked: BalanceParameters,
    found: Sequence[MaterialSum],
    changes: Mapping[str, ChannelChange],
    *,
    weight: str | None,
    going_on: int = 0,
) -> MaterialBalance:
    """Return the balance of sums and of what channels say. Pure."""
    went_in = sum(one.mass for one in found if one.direction == "in")
    went_out = sum(one.mass for one in found if one.direction == "out")
    change = None if weight is None else changes.get(weight)
    residue = None if change is None or change.mass is None else went_in - went_out - change.mass
    feeds = [_feed(name, changes, found) for name in changes if name.endswith(TOTAL)]
    notes = [f"volumes are taken for masses by {asked.density:g} kg/L"]
    if weight is None:
        notes.append(f"{device} has no channel of its weight: there is no residue")
    elif units.DIMENSION_OF.get(units.named((change.unit if change else None) or "")) == "volume":
        notes.append(f"the change of weight is that of {weight}, a volume, by the density")
    notes += [
        f"{one.channel} has no value within {NEAR // timedelta(minutes=1)} min of the begin or the end"
        for one in changes.values()
        if one.first is None or one.last is None
    ]
    notes += [
        f"{one.channel} was set back, {one.set_back} times: it is taken to have counted on from 0"
        for one in changes.values()
        if one.set_back
    ]
    if going_on:
        notes.append(f"records that go on after the end count as a whole: {going_on}")
    notes.append("gas in and out, and evaporation, are not recorded")
    return MaterialBalance(
        device=device,
        from_=times.text(asked.span().begin),
        to=times.text(asked.span().end),
        density=asked.density,
        went_in=went_in,
        went_out=went_out,
        weight=change,
        residue=residue,
        sums=list(found),
        feeds=feeds,
        assumptions=notes,
    )


def _feed(total: str, changes: Mapping[str, ChannelChange], found: Sequence[MaterialSum]) -> FeedTotal:
    """Return a feed by its three sources. `feed_a` is what people call feed a; `base` is all of the kind base; the only
    feed of a device is all of the kind feed."""
    name = total.removesuffix(TOTAL)
    feeds = [one for one in changes if one.startswith(FEED) and one.endswith(TOTAL)]
    if name.startswith(FEED) and len(feeds) > 1:
        fitting = [one for one in found if one.kind == "feed" and name.replace("_", " ") in _plain(one.material)]
    else:
        fitting = [one for one in found if one.kind == ("feed" if name.startswith(FEED) else name)]
    recorded = sum(one.mass for one in fitting) if fitting else None
    counted, scale = changes[total], changes.get(name + SCALE)
    weighed = None
    if scale is not None:
        weighed = ChannelChange(scale.channel, scale.unit, scale.first, scale.last, _minus(0.0, scale.mass))
    return FeedTotal(
        feed=name,
        counted=counted,
        weighed=weighed,
        recorded=recorded,
        counted_minus_weighed=None if weighed is None else _minus(counted.mass, weighed.mass),
        counted_minus_recorded=_minus(counted.mass, recorded),
    )


def _plain(text: str) -> str:
    return text.casefold().replace("_", " ").replace("-", " ")


def _minus(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other


async def _changes(
    database: Database, device: str, names: Sequence[str], within: tuple[Span, float]
) -> dict[str, ChannelChange]:
    """Return how these channels changed from the begin of a time to its end; volumes become masses by the density."""
    if not names:
        return {}
    span, density = within
    asked = SelectionParameters.model_validate(
        {"device": [device], "channel": list(names), "from": times.text(span.begin), "to": times.text(span.end)}
    )
    selected = await selection.resolve(database, asked, Span(span.begin - NEAR, span.end))
    [one] = selected.selections
    instants = [span.begin, min(span.begin + NEAR, span.end), span.end - times.MICROSECOND]
    read = await telemetry_at.values(database, one, AtWish(instants, NEAR, "last"))
    counters = await _counters(database, replace(one, begin=span.begin))
    found: dict[str, ChannelChange] = {}
    for channel, at_begin, soon, at_end in zip(one.channels, *read, strict=True):
        first = soon.value if at_begin.value is None else at_begin.value
        last = at_end.value
        mass, set_back = None, 0
        if first is not None and last is not None:
            rose = last - first
            if channel.name.endswith(TOTAL):
                rose, set_back = counted(first, last, counters.get(channel.name, []))
            mass = kilograms(rose, channel.unit, density)
        found.setdefault(channel.name, ChannelChange(channel.name, channel.unit, first, last, mass, set_back))
    return found


async def _counters(database: Database, wanted: Selection) -> dict[str, list[tuple[float, float]]]:
    """Return the least and the greatest value of each total in each minute that has some, in the order of time."""
    totals = tuple(channel for channel in wanted.channels if channel.name.endswith(TOTAL))
    wish = BucketWish(Division(MINUTE), ("min", "max"))
    found = await telemetry_buckets.whole(database, replace(wanted, channels=totals), wish, Deadline())
    return {
        channel.name: [(float(low), float(high)) for low, high in zip(lows, highs, strict=True) if isfinite(low)]
        for channel, lows, highs in zip(totals, found.cells[::2], found.cells[1::2], strict=True)
    }


def counted(first: float, last: float, minutes: Iterable[tuple[float, float]]) -> tuple[float, int]:
    """Return how far a total counted from `first` to `last`, and how often it was set back, by its least and greatest
    value of each minute: where it falls to less than half, it counts on from 0. Pure."""
    done, begin, most, set_back = 0.0, first, first, 0
    for low, high in (*minutes, (last, last)):
        if low >= most / 2:
            most = max(most, high)
            continue
        was_before = high >= most  # it was set back within this minute
        done += (high if was_before else most) - begin
        begin, most, set_back = 0.0, low if was_before else high, set_back + 1
    return done + last - begin, set_back
