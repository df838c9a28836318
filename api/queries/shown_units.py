"""In which unit a channel is shown: the newest of the time, or one that was asked for; else a column for each unit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

from api.problems import BadParameter
from api.queries.devices import Channel
from api.series.shown import ShownUnit, Stretch
from api.shapes.latest import Latest
from schema import times
from schema.channels import UnitSpan
from schema.times import Span
from schema.units import SAME, SATURATION, USUAL_OXYGEN, Affine, NotConvertible, Oxygen, conversion, named

OXYGEN = "dissolved_oxygen"


class ShownUnits:
    """Chooses the units of columns, by the units that were asked for."""

    def __init__(self, asked: Sequence[str]) -> None:
        self._asked = [named(unit) for unit in asked]
        self._used: set[str] = set()
        self._refusals: dict[str, list[str]] = {unit: [] for unit in self._asked}

    def of(self, channels: Sequence[Channel], span: Span) -> tuple[Channel, ...]:
        """Return the channels as they are shown in that time; one that had units which do not convert is several."""
        return tuple(shown for channel in channels for shown in self._of_one(channel, span))

    def latest(self, values: Iterable[Latest]) -> list[Latest]:
        """Return newest values, each in the first of the units asked for that it can be in."""
        return [self._converted(one) for one in values]

    def check(self) -> None:
        """Raise BadParameter for a unit that was asked for and that no channel can have."""
        for unit in self._asked:
            if unit not in self._used:
                said = dict.fromkeys(self._refusals[unit][:3])
                raise BadParameter("unit", "; ".join(said) or f"there is no channel that could be in {unit}")

    def _of_one(self, channel: Channel, span: Span) -> Iterator[Channel]:
        history = channel.terms.units or (UnitSpan(times.FIRST, channel.terms.unit),)
        if not self._asked and len(history) == 1:
            yield channel
            return
        held = channel.terms.units_in(span.begin, span.end)
        targets: list[str | None] = []
        for one in reversed(held):
            if all(_convert(channel, one.unit, known) is None for known in targets):
                targets.append(self._wanted(channel.name, one.unit) or one.unit)
        for target in targets:
            stretches = (Stretch(times.microseconds(it.since), _convert(channel, it.unit, target)) for it in history)
            notes = tuple(_notes(channel, held, target, several=len(targets) > 1))
            yield replace(channel, shown=ShownUnit(target, tuple(stretches), notes))

    def _wanted(self, channel: str, unit: str | None) -> str | None:
        """Return the first of the units asked for that values in `unit` can be in; None: none of them."""
        for wanted in self._asked:
            try:
                conversion(unit, wanted, oxygen=_oxygen(channel))
            except NotConvertible as error:
                self._refusals[wanted].append(f"{channel}: {error}")
            else:
                self._used.add(wanted)
                return wanted
        return None

    def _converted(self, one: Latest) -> Latest:
        unit = self._wanted(one.channel, one.unit)
        if unit is not None:
            convert = conversion(one.unit, unit, oxygen=_oxygen(one.channel))
            one.value = None if one.value is None else convert.one(one.value)
            one.unit = unit
        return one


def expected_unit(channel: Channel, unit: str | None, span: Span) -> tuple[Channel, list[str]]:
    """Return a channel as a formula takes it, in that unit (None: in which it comes), and what is to be said of it.
    What cannot be in the unit is not there."""
    if unit is None:
        return channel, []
    history = channel.terms.units or (UnitSpan(times.FIRST, channel.terms.unit),)
    stretches = tuple(Stretch(times.microseconds(it.since), _convert(channel, it.unit, named(unit))) for it in history)
    notes = [
        f"{channel.name} in {it.unit or 'an unknown unit'} cannot be in {unit}: what is computed of it is null"
        for it in channel.terms.units_in(span.begin, span.end)
        if _convert(channel, it.unit, named(unit)) is None
    ]
    if all(one.convert == SAME for one in stretches):
        return channel, notes
    return replace(channel, shown=ShownUnit(named(unit), stretches)), notes


def _oxygen(channel: str) -> Oxygen | None:
    """The assumptions for a channel of dissolved oxygen; the output of its controller is % of something else."""
    return USUAL_OXYGEN if channel.startswith(OXYGEN) and not channel.endswith("_output") else None


def _convert(channel: Channel, from_: str | None, to: str | None) -> Affine | None:
    if from_ == to:
        return SAME
    try:
        return None if to is None else conversion(from_, to, oxygen=_oxygen(channel.name))
    except NotConvertible:
        return None


def _notes(channel: Channel, held: Sequence[UnitSpan], target: str | None, *, several: bool) -> Iterator[str]:
    how = "there is a column for each" if several else f"all is converted to {target}"
    for before, after in pairwise(held):
        yield (
            f"{channel.name} is stored in {before.unit or 'an unknown unit'} before {times.text(after.since)} and in "
            f"{after.unit or 'an unknown unit'} from then on: {how}"
        )
    oxygen = _oxygen(channel.name)
    if oxygen and any((one.unit == SATURATION) != (target == SATURATION) for one in held):
        yield oxygen.text
