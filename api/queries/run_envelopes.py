"""The envelope of reference runs, and the scores of others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta

import numpy as np

from api.database import Database
from api.queries import run_alignment
from api.queries.run_alignment import AlignedChannel, AlignedChannels, numbers
from api.series import envelopes
from api.series.envelopes import Envelope, Excursion
from api.shapes.run_comparison import (
    ChannelEnvelope,
    ChannelScore,
    EnvelopeAnswer,
    EnvelopeQuestion,
    ExcursionAnswer,
    RunScore,
)
from schema import times

HOUR = timedelta(hours=1)


async def envelope(database: Database, asked: EnvelopeQuestion) -> EnvelopeAnswer:
    """Return the envelope of each channel, and the score of each run. Errors as of `align`."""
    names = list(dict.fromkeys([*asked.references, *asked.runs]))
    found = await run_alignment.align(database, names, asked)
    references = [one for one in found.channels if one.run in asked.references]
    bands = {name: _band(references, name, asked) for name in dict.fromkeys(one.channel.name for one in references)}
    units = {one.channel.name: one.channel.unit for one in references}
    judged = [one for one in found.channels if one.run in asked.runs]
    return EnvelopeAnswer(
        phase=asked.phase,
        bucket=times.duration_text(found.width),
        hours=found.hours,
        method=_method(asked),
        references=list(dict.fromkeys(one.run for one in references)),
        envelopes=[_answer(name, units[name], band) for name, band in bands.items()],
        scores=[_score(run, judged, bands, found, asked.merge) for run in dict.fromkeys(one.run for one in judged)],
        series=[run_alignment.series(one) for one in judged],
        warnings=[*found.warnings, *_other_units(judged, units)],
    )


def _band(references: Sequence[AlignedChannel], name: str, asked: EnvelopeQuestion) -> Envelope:
    matrix = np.stack([one.values for one in references if one.channel.name == name])
    if asked.quantiles is None:
        return envelopes.spread(matrix, asked.k, asked.least)
    return envelopes.between(matrix, *asked.quantiles, asked.least)


def _method(asked: EnvelopeQuestion) -> str:
    if asked.quantiles is None:
        return f"mean ± {asked.k:g} standard deviations"
    return f"quantiles {asked.quantiles[0]:g} to {asked.quantiles[1]:g} around the median"


def _answer(name: str, unit: str | None, band: Envelope) -> ChannelEnvelope:
    edges = {part: numbers(getattr(band, part)) for part in ("middle", "low", "high")}
    return ChannelEnvelope(channel=name, unit=unit, count=[int(one) for one in band.count], **edges)


def _score(
    run: str, judged: Sequence[AlignedChannel], bands: dict[str, Envelope], found: AlignedChannels, merge: float
) -> RunScore:
    channels: list[ChannelScore] = []
    left: list[ExcursionAnswer] = []
    for one in judged:
        band = bands.get(one.channel.name)
        if one.run != run or band is None:
            continue
        score = envelopes.score(one.values, band, int(merge * len(found.hours)))
        hours = score.judged * (found.width / HOUR)
        channels.append(ChannelScore(one.channel.name, one.device, _rounded(score.percent), round(hours, 6)))
        left += [_excursion(one, it, found) for it in score.excursions]
    known = [one.score for one in channels if one.score is not None]
    mean = sum(known) / len(known) if known else None
    return RunScore(run, _rounded(mean), channels, sorted(left, key=lambda it: (-it.duration, it.begin)))


def _excursion(one: AlignedChannel, left: Excursion, found: AlignedChannels) -> ExcursionAnswer:
    step = found.width / HOUR
    begin = (found.first + left.first) * step
    return ExcursionAnswer(
        channel=one.channel.name,
        device=one.device,
        begin=round(begin, 6),
        end=round((found.first + left.last + 1) * step, 6),
        duration=round((left.last + 1 - left.first) * step, 6),
        outside=round(left.outside * step, 6),
        times=left.times,
        begins=times.text(one.since - one.shift + (found.first + left.first) * found.width),
        worst=round((found.first + left.worst) * step, 6),
        value=float(one.values[left.worst]),
        distance=left.distance,
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _other_units(judged: Sequence[AlignedChannel], units: dict[str, str | None]) -> Iterator[str]:
    for one in judged:
        if one.channel.name not in units:
            yield f"no reference has {one.channel.name}"
        elif one.channel.unit != units[one.channel.name]:
            name, other = one.channel.name, units[one.channel.name]
            yield f"{name} of {one.run} is in {one.channel.unit}, of the references in {other}"
