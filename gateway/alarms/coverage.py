"""Decides which rules cover which devices. It is pure, but for a log line about a rule that cannot be read."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import structlog

from gateway.alarms import metrics
from gateway.errors import words_of
from schema.alarms.rules import Rule

log = structlog.get_logger()

COVERED = frozenset({"pending", "active", "suspended"})
"""States in which a device is covered. A suspended one may come back; a revoked or retired one sends no more."""


class WatchedDevice(NamedTuple):
    device_id: int
    name: str
    organization_id: int
    tags: frozenset[str]
    cell: str | None = None
    """The cell that its login is for; None: not known."""


@dataclass(frozen=True, slots=True)
class StoredRule:
    rule_id: int
    organization_id: int
    version: int
    rule: Rule


class Coverage:
    """Maps rows of alarm_rules and devices to rules by device. It parses each version of a definition once."""

    def __init__(self) -> None:
        self._read: dict[tuple[int, int], StoredRule | None] = {}
        self.unreadable: frozenset[int] = frozenset()
        """Ids of the rules that this version cannot read; their alarms stay as they are."""

    def of(
        self, rules: Iterable[Mapping[str, Any]], devices: Iterable[Mapping[str, Any]]
    ) -> dict[int, tuple[WatchedDevice, list[StoredRule]]]:
        """Return every device, by device_id, with the rules that cover it."""
        by_organization: defaultdict[int, list[StoredRule]] = defaultdict(list)
        read: dict[tuple[int, int], StoredRule | None] = {}
        for row in rules:
            key = row["rule_id"], row["version"]
            read[key] = stored = self._read[key] if key in self._read else _rule(row)
            if stored is not None:
                by_organization[stored.organization_id].append(stored)
        self._read = read
        self.unreadable = frozenset(rule_id for (rule_id, _), stored in read.items() if stored is None)
        metrics.UNREADABLE.set(len(self.unreadable))
        covered = {}
        for row in devices:
            device = WatchedDevice(
                row["device_id"], row["name"], row["organization_id"], frozenset(row["tags"]), row["cell"]
            )
            possible = by_organization.get(device.organization_id, []) if row["state"] in COVERED else []
            covered[device.device_id] = device, [stored for stored in possible if _covers(stored.rule, device)]
        return covered


def _covers(rule: Rule, device: WatchedDevice) -> bool:
    scope = rule.scope
    return (not scope.devices or device.name in scope.devices) and device.tags.issuperset(scope.tags)


def _rule(row: Mapping[str, Any]) -> StoredRule | None:
    try:
        rule = Rule.model_validate({**json.loads(row["definition"]), "name": row["name"]})
    except (ValueError, RecursionError) as error:  # pydantic and the formulas raise ValueErrors
        log.error("a rule cannot be read: its alarms stay as they are", rule=row["name"], error=words_of(error)[:500])
        return None
    return StoredRule(row["rule_id"], row["organization_id"], row["version"], rule)
