"""Whether the audit trail vouches for seals: each pass has an event, which names the seals of each device."""

from __future__ import annotations

from collections.abc import Mapping

import asyncpg
import msgspec

from gateway.evidence.seal_findings import Fault, SealedDevice, Verified
from schema.evidence.seals import hour_of, seal_mark, seal_name
from schema.times import Span

EVENTS = """
select a.organization_id, a.n, (a.new ->> 'pass')::bigint as pass, a.new -> 'devices' -> $1 as said
  from audit a
 where a.subject = 'seals' and a.action = 'seal' and a.new -> 'devices' ? $1 and a.at >= $2
 order by a.organization_id, a.n"""
TEXTS = """
select organization_id, pass, hour, version, text from seals
 where device_id = $1 and hour >= $2 and hour < $3 order by hour, version"""
Key = tuple[int, int, str]
"""Organization, pass, and the seal's name within it."""


class SealedPasses:
    """Remembers which event vouches for which pass, of the devices that were looked at."""

    def __init__(self, signed: Mapping[int, int]) -> None:
        """`signed`: the number of the newest event of each organization that a signed checkpoint covers."""
        self._signed = signed
        self._events: dict[tuple[int, int], int] = {}

    async def verify(self, connection: asyncpg.Connection, device: SealedDevice, span: Span) -> Verified:
        """Whether each seal of the device in that time is one of its pass, and none of a pass is missing."""
        said: dict[Key, str] = {}
        for row in await connection.fetch(EVENTS, device.name, span.begin):
            self._events[row["organization_id"], row["pass"]] = row["n"]
            marks = msgspec.json.decode(row["said"], type=dict[str, str])
            said |= {(row["organization_id"], row["pass"], name): mark for name, mark in marks.items()}
        stored: dict[Key, str] = {}
        for row in await connection.fetch(TEXTS, device.device_id, span.begin, span.end):
            name = seal_name(row["hour"], row["version"])
            stored[row["organization_id"], row["pass"], name] = seal_mark(row["text"])
        found = Verified()
        for key in said.keys() | stored.keys():
            hour = hour_of(key[2])
            if span.begin <= hour < span.end and said.get(key) != stored.get(key):
                found.faults.append(Fault(device.name, hour, _difference(said.get(key), stored.get(key))))
        return found

    def is_unsigned(self, organization_id: int, pass_id: int) -> bool:
        """Whether no signed checkpoint covers the event of the pass."""
        n = self._events.get((organization_id, pass_id))
        return n is None or n > self._signed.get(organization_id, 0)


def _difference(said: str | None, stored: str | None) -> str:
    if stored is None:
        return "a seal that the audit trail vouches for is gone"
    if said is None:
        return "the audit trail does not vouch for the seal"
    return "the seal is not the one that the audit trail vouches for"
