"""What an act that waits for a second person changes, in words: each value as it is now, and as it is then."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any, NamedTuple

import msgspec

from api.database import Database
from api.http.plain_words import NONE, channel, lasting, number
from api.pages.organization import PENDING_KINDS
from api.pages.rule_form import LABELS
from api.pages.words import said
from api.problems import NotFound
from api.queries import alarm_rules, commands, deviations, lab_samples
from api.queries.vessel import SETPOINT
from api.shapes.pending_acts import PendingActAnswer

POLICY = {
    "idle_minutes": "Sessions end after so many idle minutes",
    "password_days": "Passwords hold for so many days",
    "passwords_kept": "Former passwords that may not be taken again",
    "meanings": "More meanings of signatures",
    "second_person": "A second person confirms",
    "waiting_hours": "Hours that an act waits for that",
}


class ActRow(NamedTuple):
    what: str
    now: str
    """Empty: it is no change of something, but says how the act is done."""
    then: str


async def act_rows(database: Database, act: PendingActAnswer, asked: Mapping[str, Any]) -> list[ActRow]:
    """Return the rows of an act, whose request is `asked`. What is there now is told of an act that waits, if the thing
    is there still."""
    if act.state == "waiting":
        with suppress(NotFound):
            return await _rows(database, act, asked, is_open=True)
    return await _rows(database, act, asked, is_open=False)


async def _rows(database: Database, act: PendingActAnswer, asked: Mapping[str, Any], *, is_open: bool) -> list[ActRow]:
    match act.kind:
        case "setpoints":
            return [row async for row in _setpoint(database, asked, is_open=is_open)]
        case "rules":
            return [row for step in asked["steps"] for row in await _rule(database, step, is_open=is_open)]
        case "samples":
            return await _sample(database, asked, is_open=is_open)
        case "deviations":
            state = (await deviations.state(database, asked["deviation"])) if is_open else ""
            hold = [ActRow("Its hold on data", "", "ends")] if asked.get("end_hold") else []
            return [ActRow(f"State of {asked['deviation']}", state, "closed"), *hold]
        case _:
            return list(_policy(asked))


async def _setpoint(database: Database, asked: Mapping[str, Any], *, is_open: bool) -> AsyncIterator[ActRow]:
    given = asked["parameters"]
    name = str(given.get("channel", ""))
    now = await commands.newest(database, asked["device"], name + SETPOINT) if is_open else None
    yield ActRow(
        f"Setpoint of {channel(name)} of {asked['device']}", number(now) if is_open else "", said(given.get("value"))
    )
    for other in sorted(given.keys() - {"channel", "value"}):
        yield ActRow(_label(other), "", said(given[other]))
    for name, value in (asked["precondition"] or {}).items():
        if value is not None:
            yield ActRow(f"Only if: {_label(name).lower()}", "", said(value))
    yield ActRow("The device is asked for", "", lasting(timedelta(seconds=asked["expires_in_s"])))


async def _rule(database: Database, step: Mapping[str, Any], *, is_open: bool) -> list[ActRow]:
    """Return the fields of a rule that change; of a rule that is decided on, all that it was to have."""
    name, wanted = step["rule"], step["definition"]
    if wanted is None:
        return [ActRow(f"Rule {name}", f"version {step['version']}", "removed")]
    known: Mapping[str, Any] = {}
    if is_open and step["version"]:
        known = msgspec.json.decode((await alarm_rules.detail(database, name)).definition)
    flat, was = dict(_flat(wanted)), dict(_flat(known))
    changed = [one for one in {**flat, **was} if flat.get(one) != was.get(one)]
    return [
        ActRow(f"Rule {name}: {_label(one)}", was.get(one, NONE) if known else "", flat.get(one, NONE))
        for one in changed
    ]


async def _sample(database: Database, asked: Mapping[str, Any], *, is_open: bool) -> list[ActRow]:
    known = await lab_samples.one(database, asked["sample"]) if is_open else None
    was = {} if known is None else {one.analyte: one.status for one in known.analytes}
    rows = []
    for one in asked["analytes"]:
        name, value = one["analyte"], one["reading"] or number(one["value"])
        if was.get(name) != one["status"]:
            what = f"{name} of {asked['sample']}: {value} {one['unit'] or ''}".strip()
            rows.append(ActRow(what, was.get(name, ""), one["status"]))
    return rows


def _policy(asked: Mapping[str, Any]) -> Iterator[ActRow]:
    for name, value in asked["policy"].items():
        before = asked["before"][name]
        if value != before:
            yield ActRow(POLICY[name], *(_demanded(name, one) for one in (before, value)))


def _demanded(name: str, value: Any) -> str:
    words = [PENDING_KINDS[one] for one in value] if name == "second_person" else value
    return "nothing" if words == [] else said(words)


def _flat(content: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    for name, value in content.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{name}.")
        else:
            yield above + name, said(value)


def _label(path: str) -> str:
    """Return what people call a field: that of a condition is named by its own name alone."""
    name = path.rpartition(".")[2]
    return LABELS.get(name, name.replace("_", " ").capitalize())
