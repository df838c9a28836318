"""What stands now against what the events say of it.

Rules, roles, runs and others that people change have a row that is overwritten, and an event for each change. So there
is a row for each subject that the events speak of, and it is what they made of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

State = dict[str, Any]
Change = Callable[[State, Any], State | None]
"""What an event makes of a state, by its new state; None: the row is taken away."""


def whole(**more: Any) -> Change:
    """The new state is all, with what goes without saying."""
    return lambda _, new: more | new


def part(before: State, new: State) -> State:
    """The new state has the fields that are others now."""
    return before | new


def gone(_before: State, _new: Any) -> None:
    """The event takes the row away."""


def field(name: str, value: Any = None) -> Change:
    """The new state, or `value` where there is none, is that of one field."""
    return lambda before, new: before | {name: value if new is None else new}


def joins(_before: State, new: Any) -> State:
    """Of the account of somebody who is no member yet, other trails have events, and it is verified by some links."""
    return {"role": new["role"]}


def leaves(_before: State, _new: Any) -> State:
    """What becomes of the account is in the trails of other organizations from here on."""
    return {"role": None}


def run_facts(before: State, new: State) -> State:
    """What somebody wrote down of a run, or corrected, is all but its phases."""
    return {"phases": before.get("phases", [])} | new


def run_step(before: State, new: State) -> State:
    """A run becomes another state at a time, which may be that of its start or of its end."""
    after = before | {"state": new["state"]}
    if new["state"] == "running" and "begins" not in before:
        after["begins"] = new["at"]
    elif new["state"] in ("complete", "stopped", "aborted") and "begins" in before:
        after["ends"] = new["at"]
    return after


def account(what: str, value: bool) -> Change:
    """The action says all: the first events of accounts have no state. The account of nobody is told elsewhere, too."""
    return lambda before, _: before | {what: value} if before.get("role") is not None else before


def founder(said: Mapping[str, Any]) -> str | None:
    """Whom an event that makes an organization makes its admin: a command, whose event has an object, makes none."""
    who: str = said["who"]
    by_its_admin = isinstance(said["new"], str) and "@" in who and said["why"] == "asked for"
    return who.removesuffix(" (unverified)") if by_its_admin else None


VOUCHES = ("account verify", "account unverify")
"""A link into the first organization verifies as well, which the trails of others do not say."""
RUN_STATES = ("running", "holding", "held", "restarting", "stopping", "stopped", "aborting", "aborted", "complete")


@dataclass(frozen=True, slots=True)
class Kind:
    """Subjects of a kind."""

    rows: str
    """Gives name and state, a JSON object, of each subject of an organization ($1)."""
    changes: Mapping[str, Change]
    """By the actions of the events."""
    is_partial: bool = False
    """Whether a row has fields of which no event may have spoken yet."""
    of_events: frozenset[str] = frozenset()
    """Fields that events alone have."""


KINDS: Mapping[str, Kind] = {
    "alarm-rule": Kind(
        "select name, definition as state from public.alarm_rules where organization_id = $1 and removed_at is null",
        {"alarm rule create": whole(), "alarm rule change": whole(), "alarm rule remove": gone},
    ),
    "alarm-route": Kind(
        """
select name, definition || jsonb_build_object('address', address) as state
  from public.alarm_routes where organization_id = $1""",
        {"alarm route create": whole(), "alarm route change": whole(), "alarm route remove": gone},
        of_events=frozenset({"url_changed"}),
    ),
    "computed-channel": Kind(
        "select name, definition as state from public.computed_channels where organization_id = $1",
        {
            "computed channel create": whole(),
            "computed channel change": whole(),
            "computed channel remove": gone,
        },
    ),
    "report-template": Kind(
        """
select distinct on (name) name, definition as state
  from public.report_templates where organization_id = $1 order by name, version desc""",
        {"report template": whole()},
    ),
    "location": Kind(
        """
select path as name, jsonb_build_object('kind', kind, 'description', description) as state
  from public.locations where organization_id = $1""",
        {"location create": whole(), "location change": whole(), "location remove": gone},
    ),
    "deviation": Kind(
        """
select deviation as name, jsonb_build_object('title', title, 'description', description, 'severity', severity,
           'tags', tags, 'members', members, 'state', state) as state
  from public.deviations where organization_id = $1""",
        {
            "deviation open": whole(state="open"),
            **{f"deviation {act}": part for act in ("change", "assess", "close", "reopen")},
        },
    ),
    "run": Kind(
        """
select r.name, jsonb_build_object('material', r.material, 'strain', r.strain, 'recipe', r.recipe,
           'recipe_version', r.recipe_version, 'note', r.note, 'plan', r.plan, 'state', r.state, 'begins', r.begins,
           'ends', r.ends,
           'devices', (select coalesce(jsonb_agg(d.name order by d.name), '[]')
                         from public.run_devices m join public.devices d using (device_id) where m.run_id = r.run_id),
           'phases', (select coalesce(jsonb_agg(jsonb_build_object('name', p.name, 'begins', p.begins, 'ends', p.ends,
                                 'origin', p.origin) order by p.begins), '[]')
                        from public.run_phases p where p.run_id = r.run_id)) as state
  from public.runs r where r.organization_id = $1""",
        {
            "run create": run_facts,
            "run change": run_facts,
            "run phases": field("phases"),
            **{f"run {state}": run_step for state in RUN_STATES},
        },
    ),
    "user": Kind(
        """
select u.email as name, jsonb_build_object('role', m.role, 'disabled', u.disabled, 'verified', u.verified) as state
  from public.users u left join public.memberships m on m.user_id = u.user_id and m.organization_id = $1
 where m.user_id is not null or $1 = 1""",
        {
            "member join": joins,
            "member role": field("role"),
            "member remove": leaves,
            "account disable": account("disabled", True),
            "account enable": account("disabled", False),
            "account verify": account("verified", True),
            "account unverify": account("verified", False),
        },
        is_partial=True,
    ),
    "key": Kind(
        """
select key_id as name, jsonb_build_object('name', name, 'role', role, 'scopes', scopes, 'expires_at', expires_at,
           'ended', ended_at is not null) as state
  from public.api_keys where organization_id = $1""",
        {"key create": whole(ended=False), "key end": field("ended", True)},
    ),
    "hold": Kind(
        """
select h.hold_id::text as name, jsonb_build_object('device', d.name, 'begins', h.begins, 'ends', h.ends,
           'ended', h.ended_at is not null) as state
  from public.retention_holds h left join public.devices d using (device_id) where h.organization_id = $1""",
        {"retention hold": whole(ended=False), "retention hold end": field("ended", True)},
    ),
}
BY_ACTION = {action: kind for kind, of in KINDS.items() for action in of.changes}


@dataclass(slots=True)
class _Told:
    """What the events up to `n` say of a subject; None: it was taken away."""

    n: int
    state: State | None


class StandingCheck:
    """Gathers what the events of a chain say, in their order, and compares it with the rows."""

    def __init__(self, connection: asyncpg.Connection, organization: int) -> None:
        self._connection, self._organization = connection, organization
        self._told: dict[str, dict[str, _Told]] = {kind: {} for kind in KINDS}
        self.checked = 0

    def event(self, n: int, said: Mapping[str, Any]) -> None:
        """Take the fields of an event."""
        action = said["action"]
        if action == "organization create" and (name := founder(said)) is not None:
            self._told["user"][name] = _Told(n, {"role": "admin"})
        kind, _, name = said["subject"].partition("/")
        if BY_ACTION.get(action) == kind and (self._organization == 1 or action not in VOUCHES):
            told = self._told[kind]
            before = told[name].state if name in told else None
            told[name] = _Told(n, KINDS[kind].changes[action](before or {}, said["new"]))

    async def faults(self) -> list[str]:
        """Read the rows; give a sentence for each that is not as the events say."""
        found = []
        for kind, of in KINDS.items():
            rows = await self._connection.fetch(of.rows, self._organization)
            there = {row["name"]: json.loads(row["state"]) for row in rows}
            self.checked += len(there)
            told = self._told[kind]
            for name in told.keys() | there.keys():
                found += [f"{kind}/{name}: {fault}" for fault in _faults(of, told.get(name), there.get(name))]
        return sorted(found)


def _faults(kind: Kind, told: _Told | None, there: State | None) -> list[str]:
    """What is wrong with one subject."""
    if told is None:
        is_nobody = kind.is_partial and there is not None and there["role"] is None
        return [] if is_nobody else ["it is there, and no event says who made it"]
    if told.state is None:
        return [] if there is None else [f"it is there, and event {told.n} took it away"]
    if there is None:
        is_nobody = kind.is_partial and told.state.get("role") is None
        return [] if is_nobody else [f"it is missing, and event {told.n} did not take it away"]
    names = told.state.keys() | ({"role"} if kind.is_partial else there.keys())
    wrong = sorted(name for name in names - kind.of_events if not _is_same(told.state.get(name), there.get(name)))
    return [f"{', '.join(wrong)}: not what the events up to {told.n} say"] if wrong else []


def _is_same(said: Any, there: Any) -> bool:
    """Whether two JSON values are the same; times are so as instants, and what is null may be left out."""
    if isinstance(said, dict) and isinstance(there, dict):
        return all(_is_same(said.get(name), there.get(name)) for name in said.keys() | there.keys())
    if isinstance(said, list) and isinstance(there, list):
        return len(said) == len(there) and all(map(_is_same, said, there))
    if isinstance(said, str) and isinstance(there, str) and said != there:
        try:
            instants = datetime.fromisoformat(said), datetime.fromisoformat(there)
        except ValueError:  # no times
            return False
        return all(one.tzinfo for one in instants) and instants[0] == instants[1]  # without a zone it is some text
    return bool(said == there)
