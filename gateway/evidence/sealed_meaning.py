"""What layouts meant when an hour was sealed, against what they mean now: names and units of channels."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import asyncpg

SAID = """
select new ->> 'channel' as channel, at from audit
 where organization_id = any ($1::int[]) and action = 'channel change' and new ? 'unit'"""


class UnitSaid(NamedTuple):
    """At some time somebody said the unit of a channel, by the audit trail."""

    channel: str
    at: datetime


async def units_said(connection: asyncpg.Connection, organizations: Sequence[int]) -> list[UnitSaid]:
    """What the audit trail says of units."""
    return [UnitSaid(*row) for row in await connection.fetch(SAID, organizations)]


def faults_of_meaning(sealed: str, now: str, told: Sequence[UnitSaid]) -> Iterator[str]:
    """Yield what layouts texts say otherwise. That people have said another unit meanwhile is no fault."""
    if sealed == now:
        return
    by_now = _layouts(now)
    known = {one.channel for one in told}
    for layout, channels in _layouts(sealed).items():
        if layout not in by_now or len(by_now[layout]) != len(channels):
            yield f"layout {layout} has other channels, or none"
            continue
        for was, is_ in zip(channels, by_now[layout], strict=True):
            if was[0] != is_[0]:
                yield f"the channel {was[0]!r} of layout {layout} was renamed to {is_[0]!r}"
            elif was[1:] != is_[1:] and was[0] not in known:
                yield f"the unit of {was[0]!r} was {_units(was)}, is {_units(is_)}, and no event says so"


def _layouts(text: str) -> dict[int, list[list[Any]]]:
    return {one["layout"]: one["channels"] for one in json.loads(text)["layouts"]}


def _units(channel: list[Any]) -> str:
    return ", then ".join("not known" if unit is None else repr(unit) for unit in channel[1::2])
