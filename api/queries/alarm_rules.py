"""SQL for alarm rules, which are stored whole as JSON, as schema/alarms/rules.py defines them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import asyncpg
from pydantic import ValidationError

from api.database import Database
from api.http.description import raw
from api.http.preconditions import Expected
from api.problems import Conflict, NotFound, PreconditionFailed, Waits
from api.queries import load, pending_acts, rule_warnings
from api.queries.pending_acts import WantedAct
from api.shapes.alarm_rules import Imported, RuleChange, RuleDetail, RuleParameters, RuleWarnings, SavedRule
from schema.alarms.files import MAX_RULES
from schema.alarms.rules import Definition, Rule, RuleScope

SQL = load("alarm_rules")


@dataclass(frozen=True, slots=True)
class RuleOrder:
    """Who changes rules, and why."""

    who: str
    why: str


async def page(database: Database, wanted: RuleParameters, after: str, limit: int) -> list[asyncpg.Record]:
    """Return at most `limit` rules whose name comes after `after`."""
    channel = wanted.channel
    filters = wanted.enabled, wanted.tag or None, wanted.priority or None, channel
    rows = await database.fetch(SQL["page"], after, *filters, limit if channel is None else None)
    if channel is None:
        return rows
    # The query has thinned them out: in a formula the name may be a part of another.
    return list(islice((row for row in rows if channel in _channels(row)), limit))


async def detail(database: Database, name: str) -> RuleDetail:
    row = await database.one(SQL["one"], name, absent=unknown(name))
    try:
        found = await rule_warnings.warnings(database, _rule(row))
    except Conflict as error:
        found = [error.detail]
    return _with_warnings(row, found)


async def rule(database: Database, name: str) -> Rule:
    return _rule(await database.one(SQL["one"], name, absent=unknown(name)))


async def everything(database: Database) -> list[Rule]:
    """Return all rules. Raises Conflict if this version of the product cannot read one of them."""
    return [_rule(row) for row in await database.fetch(SQL["page"], "", *[None] * 5)]


def unknown(name: str) -> NotFound:
    return NotFound(f"there is no rule {name}; /api/v1/alarm-rules lists those that there are")


async def put(
    database: Database, name: str, wanted: Definition, expected: Expected, change: RuleOrder
) -> tuple[RuleDetail, bool]:
    """Store a rule; returns the rule and whether it is new. Raises Waits where a second person has to confirm it."""
    if await pending_acts.is_demanded(database, "rules"):
        raise await _put_later(database, name, wanted, expected, change)
    async with database.change() as connection:
        known = await connection.fetchrow(SQL["one"], name)
        version = expected.version_of(known, f"rule {name}")
        await connection.execute(SQL["put"], name, wanted.model_dump_json(), version, change.who, change.why)
        saved = await connection.fetchrow(SQL["one"], name)
    return _with_warnings(saved, await rule_warnings.warnings(database, wanted)), known is None


async def _put_later(database: Database, name: str, wanted: Definition, expected: Expected, change: RuleOrder) -> Waits:
    """Let a change wait, of the rule as it is now: confirmed, it is not done to another version."""
    known = await database.fetchrow(SQL["one"], name)
    version, present = expected.version_of(known, f"rule {name}"), 0 if known is None else known["version"]
    if version not in {None, present}:
        raise PreconditionFailed(f"rule {name} was changed meanwhile: its version is {present}")
    step = {"rule": name, "definition": wanted.model_dump(mode="json"), "version": present}
    return await _later(database, f"alarm-rule/{name}", [step], change)


async def _later(database: Database, subject: str, steps: Sequence[Mapping[str, Any]], change: RuleOrder) -> Waits:
    """Let steps wait for a second person: each is a rule, its new definition or None, and the version before."""
    return await pending_acts.ask(database, WantedAct("rules", subject, {"steps": steps}, change.who, change.why))


async def remove(database: Database, name: str, version: int | None, change: RuleOrder) -> SavedRule:
    """Remove a rule; returns the rule as it was. Raises Waits where a second person has to confirm it."""
    if await pending_acts.is_demanded(database, "rules"):
        known = await database.one(SQL["one"], name, absent=unknown(name))
        if version not in {None, known["version"]}:
            raise PreconditionFailed(f"rule {name} was changed meanwhile: its version is {known['version']}")
        step = {"rule": name, "definition": None, "version": known["version"]}
        raise await _later(database, f"alarm-rule/{name}", [step], change)
    async with database.change() as connection:
        before = await connection.fetchrow(SQL["one"], name)
        if before is None:
            raise unknown(name)
        await connection.execute(SQL["remove"], name, version, change.who, change.why)
        return item(before)


async def import_(
    database: Database, rules: Sequence[Rule], change: RuleOrder, *, remove: bool, dry_run: bool
) -> Imported:
    """Make the stored rules those of a file, all or none; rules that are not in the file stay, unless `remove`. Raises
    Waits where a second person has to confirm it."""
    known = await rule_warnings.known_devices(database, rules)
    is_later = not dry_run and await pending_acts.is_demanded(database, "rules")
    async with database.change() as connection:
        stored = {row["name"]: row for row in await connection.fetch(SQL["page"], "", *[None] * 5)}
        wanted = {rule.name: rule.model_dump(mode="json", exclude={"name"}) for rule in rules}
        created = [name for name in wanted if name not in stored]
        changed = {
            name: fields
            for name in wanted
            if name in stored and (fields := list(_differences(json.loads(stored[name]["definition"]), wanted[name])))
        }
        removed = sorted(stored.keys() - wanted.keys()) if remove else []
        if len(stored) - len(removed) + len(created) > MAX_RULES:
            raise Conflict(f"there would be more than {MAX_RULES} rules")
        if not dry_run and not is_later:
            versions = [stored[name]["version"] for name in removed]
            await connection.execute(SQL["remove_many"], removed, versions, change.who, change.why)
            put = [*created, *changed]
            definitions = [json.dumps(wanted[name]) for name in put]
            versions = [stored[name]["version"] if name in stored else 0 for name in put]
            await connection.execute(SQL["put_many"], put, definitions, versions, change.who, change.why)
    if is_later and (created or changed or removed):
        steps = [
            *({"rule": name, "definition": None, "version": stored[name]["version"]} for name in removed),
            *(
                {"rule": name, "definition": wanted[name], "version": stored[name]["version"] if name in stored else 0}
                for name in (*created, *changed)
            ),
        ]
        raise await _later(database, "alarm-rules", steps, change)
    return Imported(
        dry_run=dry_run,
        created=created,
        changed=[RuleChange(rule=name, fields=fields) for name, fields in changed.items()],
        removed=removed,
        unchanged=len(wanted) - len(created) - len(changed),
        warnings=[RuleWarnings(rule=rule.name, warnings=found) for rule in rules if (found := known.warnings(rule))],
    )


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """Yield the fields in which two rules differ, as paths with dots."""
    for name in sorted(old.keys() | new.keys()):
        before, after = old.get(name), new.get(name)
        if isinstance(before, dict) and isinstance(after, dict):
            yield from _differences(before, after, f"{above}{name}.")
        elif before != after or (name in old) != (name in new):
            yield above + name


async def covered(database: Database, scope: RuleScope, limit: int) -> list[str]:
    """Return the names of at most `limit` devices in the scope."""
    return [row["name"] for row in await database.fetch(SQL["covered"], *_scope(scope), limit)]


def _scope(scope: RuleScope) -> tuple[list[str] | None, list[str]]:
    return scope.devices or None, scope.tags


def _rule(row: asyncpg.Record) -> Rule:
    try:
        return Rule.model_validate({"name": row["name"], **json.loads(row["definition"])})
    except ValidationError as error:
        raise Conflict(f"rule {row['name']} was saved by another version and cannot be read: change it") from error


def _channels(row: asyncpg.Record) -> frozenset[str]:
    try:
        return _rule(row).channels
    except Conflict:
        return frozenset()


def item(row: asyncpg.Record) -> SavedRule:
    return SavedRule.of(row, rule=row["name"], definition=raw(row["definition"]))


def _with_warnings(row: asyncpg.Record, found: list[str]) -> RuleDetail:
    return RuleDetail.of(row, rule=row["name"], definition=raw(row["definition"]), warnings=found)
