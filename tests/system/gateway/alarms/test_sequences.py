"""Sequences worked out by hand, through the database: frames, acts and restarts, with what is stored at the end."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from itertools import groupby, zip_longest

import pytest

from schema.alarms.rules import Rule
from tests.gateway.alarms.plant import Plant, evaluated, moment, now
from tests.gateway.cell import eventually
from tests.gateway.material import Quick
from tests.schema.alarms.test_sequences import ACTS, LINES, STATES, number, the_rule

CHOSEN = [line for line in LINES if not re.search(r"tick|phase:|@|shelve0|stale|\d{3} [HL]", line)]
"""Those in which our clock decides nothing, and no value becomes stale."""
AFTER = (
    "select after from alarm_transitions where device_id = (select device_id from devices where name = $1) order by n"
)
EVALUATED = """
select bool_and(coalesce(a.evaluated_until >= given.at, false))
  from unnest($1::text[], $2::timestamptz[]) as given (name, at)
  left join devices d using (name)
  left join alarm_devices a using (device_id)"""
"""Whether each of these devices is evaluated up to its moment."""


@pytest.mark.parametrize("restarts", [False, True], ids=["", "a new evaluator for each step"])
async def test_what_is_stored_is_what_was_worked_out_by_hand(
    plant: Plant, database_url: str, monkeypatch: pytest.MonkeyPatch, restarts: bool
) -> None:
    monkeypatch.setattr(Quick, "timing", replace(Quick.timing, remember_s=0.05))
    names = [f"r{n}" for n in range(len(CHOSEN))]
    await plant.devices(*names)
    lines: dict[str, list[list[str]]] = {}
    for name, line in zip(names, CHOSEN, strict=True):
        options, _, steps = line.partition("|")
        lines[name] = [step.split() for step in steps.split(";")]
        rule: Rule = the_rule(options)
        more = rule.model_dump(exclude={"name", "title", "when"}) | {
            "scope": {"devices": [name]},
            "stale_after": 86_400.0,
        }
        await plant.rule(name, rule.when.model_dump(), **more)
    begin = now() - 100
    rounds = list(zip_longest(*lines.values()))
    waiting = list(range(len(rounds)))
    while waiting:
        async with evaluated(database_url):
            while waiting:
                n = waiting.pop(0)
                sent: list[str] = []
                for name, step in zip(names, rounds[n], strict=True):
                    if step is None:
                        continue
                    at, what, expected = step
                    word = what.rstrip("0123456789")
                    if word in ACTS:
                        until = moment(now() + 3600) if word in {"shelve", "once"} else None
                        act = await plant.act(name, ACTS[word].value, name, until, once=word == "once")
                        assert (act["refused"] is not None) is expected.startswith("!"), (name, lines[name], step)
                    else:
                        sent.append(name)
                        value = number(what)
                        await plant.commit(name, [(begin + float(at), {"x": value})], first=n)
                if sent:
                    await eventually(partial(caught_up, plant, lines, begin, n), 60)
                for name, step in zip(names, rounds[n], strict=True):
                    if step is not None:
                        alarm = await plant.alarm(name, name)
                        state = "normal" if alarm is None else alarm["state"]
                        assert state == STATES[step[2][-1]], (name, CHOSEN[names.index(name)], step)
                if restarts:
                    break
    for name in names:
        states = [STATES[step[2][-1]].value for step in lines[name]]
        after = [row["after"] for row in await plant.database.fetch(AFTER, name)]
        assert changes(["normal", *after]) == changes(["normal", *states]), CHOSEN[names.index(name)]


async def caught_up(plant: Plant, lines: dict[str, list[list[str]]], begin: float, n: int) -> bool:
    """Whether each device was evaluated up to its newest frame of the first n steps."""
    newest = [
        moment(begin + [float(at) for at, what, _ in steps[: n + 1] if what.rstrip("0123456789") not in ACTS][-1])
        for steps in lines.values()
    ]
    return bool(await plant.database.fetchval(EVALUATED, list(lines), newest))


def changes(states: list[str]) -> list[str]:
    return [state for state, _ in groupby(states)]
