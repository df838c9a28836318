"""Says what looks like a mistake in an alarm rule but may be meant: a rule can exist before its devices do."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from api.database import Database
from api.queries import load
from schema.alarms.rules import Definition, RuleScope

SQL = load("rule_warnings")
MOST_NAMED = 5
"""The most names in one warning."""
LATELY = 50
"""The newest phases of each device that are known: those of the last few runs."""


@dataclass(frozen=True, slots=True)
class KnownDevice:
    """A device, and what it has sent: all its layouts, and its newest phases."""

    name: str
    tags: frozenset[str]
    retired: bool
    layouts: frozenset[int]
    phases: frozenset[str]


@dataclass(frozen=True, slots=True)
class KnownDevices:
    devices: Sequence[KnownDevice]
    channels: dict[int, frozenset[str]]
    """The names of a layout's channels, by layout_id."""

    def warnings(self, rule: Definition) -> list[str]:
        """Return sentences for people, none if all devices and names of the rule are known."""
        scope = rule.scope
        strangers = sorted(set(scope.devices) - {device.name for device in self.devices})
        found = [f"in its scope, but not registered: {_some(strangers)}"] if strangers else []
        covered = [device for device in self.devices if _covers(scope, device)]
        if not covered:
            return [*found, "no device is in its scope"]
        layouts = frozenset[int]().union(*(device.layouts for device in covered))
        sent = frozenset[str]().union(*(self.channels[layout] for layout in layouts))
        phases = frozenset[str]().union(*(device.phases for device in covered))
        for channel in sorted(rule.channels - sent):
            found.append(f"no device in its scope has ever sent {channel!r}{_meant(channel, sent)}")
        for phase in sorted(set(scope.phases) - phases):
            found.append(f"no device in its scope was in the phase {phase!r} lately{_meant(phase, phases)}")
        return found


async def known_devices(database: Database, rules: Iterable[Definition]) -> KnownDevices:
    """Read what the organization's devices have sent, as far as the rules ask for it."""
    with_phases = any(rule.scope.phases for rule in rules)
    async with database.connection() as connection:
        devices = await connection.fetch_planned(SQL["devices"], LATELY if with_phases else 0)
        channels = await connection.fetch(SQL["channels"], sorted({one for row in devices for one in row["layouts"]}))
    return KnownDevices(
        [
            KnownDevice(
                row["name"],
                frozenset(row["tags"]),
                row["retired"],
                frozenset(row["layouts"]),
                frozenset(row["phases"]),
            )
            for row in devices
        ],
        {row["layout_id"]: frozenset(row["names"]) for row in channels},
    )


async def warnings(database: Database, rule: Definition) -> list[str]:
    return (await known_devices(database, [rule])).warnings(rule)


def _covers(scope: RuleScope, device: KnownDevice) -> bool:
    if device.retired or (scope.devices and device.name not in scope.devices):
        return False
    return device.tags.issuperset(scope.tags)


def _some(names: Sequence[str]) -> str:
    more = len(names) - MOST_NAMED
    return f"{', '.join(names[:MOST_NAMED])}{f' and {more} more' if more > 0 else ''}"


def _meant(name: str, known: Collection[str]) -> str:
    """The known names nearest to `name`: as parts of each other (feed, exponential feed), or misspelled."""
    parts = [one for one in sorted(known) if name.casefold() in one.casefold() or one.casefold() in name.casefold()]
    near = list(dict.fromkeys([*parts, *get_close_matches(name, sorted(known))]))[:MOST_NAMED]
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
