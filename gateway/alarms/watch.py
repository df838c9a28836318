"""Holds one device under its rules: the engine, its rows in the database, and what is still to be written."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

import asyncpg
import structlog

from gateway.alarms import metrics
from gateway.alarms.coverage import StoredRule, WatchedDevice
from schema.alarms.engine import DeviceAlarms, Transition, moment
from schema.alarms.intake import Intake
from schema.alarms.machine import Action, Alarm, AlarmState, Condition, NotPossible
from schema.alarms.phases import PhaseFollower, PhaseSince
from schema.alarms.rules import Silent
from schema.alarms.stored import sent
from schema.alarms.timeline import CommittedFrame

log = structlog.get_logger()

REMOVED, CHANGED = "removed", "rule-changed"
BEHIND_S = 60.0
"""Seconds for which frames may wait for their evaluation before it is told."""
SILENT_S = 60.0
"""Seconds without a newer frame after which an unknown condition is put down to it."""


class Blind(StrEnum):
    """Why a rule is not evaluated on a device just now."""

    NEVER_SENT = "never-sent"
    SILENT = "silent"
    """Nothing newer comes from the device."""
    LATE = "late"
    """Frames come long after their time: a backlog, or a clock that is behind."""
    UNKNOWN = "unknown"
    """The condition cannot be told from what comes: a channel is missing, bad or stale."""
    BEHIND = "behind"
    UNREADABLE = "unreadable"
    DEFECT = "defect"


@dataclass(slots=True)
class Standing:
    """A row of the table `alarms`."""

    rule_id: int
    organization_id: int
    version: int
    priority: str
    since: datetime
    n: int = 0
    alarm: Alarm = field(default_factory=Alarm)
    raised_at: datetime | None = None
    raised_n: int | None = None
    value: float | None = None
    detail: str = ""
    removed_at: datetime | None = None
    """When the row stopped being an alarm. If it becomes one again, `n` goes on counting."""
    not_evaluated: str | None = "not evaluated yet"
    """Why the rule is not evaluated on the device just now; None: it is."""

    @property
    def state(self) -> AlarmState:
        """The state that people see. What holds back an alarm that is gone is kept for its return."""
        return self.alarm.state if self.removed_at is None else AlarmState.NORMAL


class Made(NamedTuple):
    """A row of the table `alarm_transitions`."""

    rule_id: int
    device_id: int
    n: int
    organization_id: int
    at: datetime
    cause: str
    before: str
    after: str
    condition: str
    priority: str
    value: float | None
    detail: str
    who: str | None
    why: str | None
    raised_n: int | None


class ActRefused(Exception):
    """Raised when an act is not possible; the text says why."""


class DeviceWatch:
    """A device under its rules. `memory` is as in alarm_devices, `standing` has the device's rows of `alarms`.

    `begin` and `change` compare the rules with what was remembered: alarms of removed rules end, alarms of changed
    rules go on under the new version, which evaluates anew. Alarms of `unreadable` rules stay as they are.
    """

    def __init__(
        self, device: WatchedDevice, memory: Mapping[str, Any] | None = None, standing: Iterable[Standing] = ()
    ) -> None:
        self.device = device
        self.made: list[Made] = []
        """Transitions that are not stored yet."""
        self.touched: set[int] = set()
        """Ids of the rules whose rows of `alarms` are to be written."""
        self.received: list[float] = []
        """Receipt times, in s since 1970, of the frames that have made transitions."""
        self.is_new = True
        """Whether the newest frame of the device is to be looked for, because none was ever evaluated."""
        self.late_id = 0
        """The last note of late frames (late_arrivals) that was read."""
        self.forget = False
        """Whether no rule covers the device, so that its memory is to be deleted."""
        self.since_write = False
        """Whether the memory has changed since it was written."""
        self.layouts: set[int] = set()
        """Layouts that came with the time of the newest frame."""
        self.standing = {one.rule_id: one for one in standing}
        self.rules: dict[str, StoredRule] = {}
        self._picks: dict[int, tuple[tuple[int, str], ...]] = {}
        self.engine = DeviceAlarms([])
        self._remembered = memory or {}
        self.tick_due = 0.0
        self.behind_since: float | None = None
        """Since when frames of the device have waited for their evaluation."""
        self.phases = PhaseFollower({})
        self._unreadable: Collection[int] = ()
        self._silences: frozenset[int] = frozenset()

    def begin(
        self, device: WatchedDevice, rules: Sequence[StoredRule], now: float, unreadable: Collection[int] = ()
    ) -> None:
        """Begin under `rules` from the remembered state; call it once, first. Memory of another version of the product
        may be unusable: then the device begins as if never evaluated, with its alarms as they stand."""
        memory, self._remembered = self._remembered, {}
        try:
            self._begin(device, rules, now, memory, unreadable)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            log.error("memory of a device is unusable: begun again without it", device=device.name, error=repr(error))
            self._begin(device, rules, now, {}, unreadable)
        self.is_new = self.engine.position is None

    def change(
        self, device: WatchedDevice, rules: Sequence[StoredRule], now: float, unreadable: Collection[int] = ()
    ) -> None:
        """Go on under other rules, another version of them, or another organization."""
        self._begin(device, rules, now, self.memory(), unreadable)

    def memory(self) -> dict[str, Any]:
        versions = {name: [stored.rule_id, stored.version] for name, stored in self.rules.items()}
        return self.engine.memory() | self.phases.memory() | {"versions": versions, "late_id": self.late_id}

    def is_covered_by(self, rules: Sequence[StoredRule], unreadable: Collection[int]) -> bool:
        """Whether the device has exactly these rules, and no alarms of others."""
        ids = {stored.rule_id for stored in rules}
        return (
            len(rules) == len(self.rules)
            and all(self.rules.get(stored.rule.name) is stored for stored in rules)
            and all(
                row.removed_at is not None or rule_id in ids or rule_id in unreadable
                for rule_id, row in self.standing.items()
            )
        )

    def evaluation(self) -> tuple[datetime | None, ...]:
        """Time and receipt of the newest evaluated frame; when clock and numbers of the device went back last."""
        position = self.engine.position
        times = (position.time, position.received) if position else (0.0, 0.0)
        return tuple(moment(time) if time else None for time in (*times, *self.engine.oddities))

    def look(self, now: float) -> Iterator[Blind]:
        """Note for each alarm whether its rule is evaluated; yield why those are not that are not."""
        position = self.engine.position
        for row in self.standing.values():
            if row.removed_at is not None:
                continue
            blind, words = None, row.detail
            if row.rule_id in self._unreadable:
                blind, words = Blind.UNREADABLE, "this version cannot read the rule"
            elif self.behind_since is not None and now - self.behind_since > BEHIND_S:
                blind, words = Blind.BEHIND, "frames of the device wait for their evaluation"
            elif position is None and row.rule_id not in self._silences:
                blind, words = Blind.NEVER_SENT, "the device has not sent anything yet"
            elif row.alarm.condition is Condition.UNKNOWN:
                is_silent = position is not None and now - position.received > SILENT_S
                blind = Blind.LATE if self.engine.is_late else Blind.SILENT if is_silent else Blind.UNKNOWN
            why = None if blind is None else words
            if why != row.not_evaluated:
                row.not_evaluated = why
                self.touched.add(row.rule_id)
            if blind is not None:
                yield blind

    @property
    def follows_phases(self) -> bool:
        return any(stored.rule.scope.phases for stored in self.rules.values())

    # -- input. These methods return nothing: their transitions are in `made`.

    def frame(self, row: asyncpg.Record, names: Sequence[str]) -> None:
        """Evaluate a row of `frames`; `names` are the channels of its layout."""
        layout_id = row["layout_id"]
        picks = self._picks.get(layout_id)
        if picks is None:
            used = self.engine.channels
            picks = self._picks[layout_id] = tuple((n, name) for n, name in enumerate(names) if name in used)
        before, odd, time = self.engine.evaluated_until, self.engine.oddities, row["time"].timestamp()
        received = row["received_at"].timestamp()
        values = sent(picks, row["values"], row["quality"])
        if self.phases.confirmed:
            self.follow(received)
        made = self.engine.frame(CommittedFrame(time, received, row["boot"], row["seq"], values))
        if self.engine.oddities != odd:
            self._tell_oddities(odd)
        if self.engine.evaluated_until == time:
            self.layouts = {layout_id} if before != time else self.layouts | {layout_id}
        self.since_write = True
        if made:
            self.received.append(received)
            self._note(made)

    def first_frame(self, row: asyncpg.Record, names: Sequence[str], is_old: bool) -> None:
        """Evaluate the newest frame of a device seen for the first time. From an old frame only its arrival is taken,
        because its values say nothing about now."""
        if is_old:
            position = row["time"].timestamp(), row["received_at"].timestamp(), row["boot"], row["seq"]
            self._note(self.engine.frame(CommittedFrame(*position, [])))
            self.layouts, self.since_write = {row["layout_id"]}, True
        else:
            self.frame(row, names)

    def phase(self, row: asyncpg.Record) -> None:
        """Take a row of a phase that the device has told."""
        self.phases.tell(PhaseSince(row["time"].timestamp(), row["phase"]))
        self.since_write = True
        self.follow(row["received_at"].timestamp())

    def follow(self, at: float) -> None:
        """Enter the phase that is in force at `at`, the database's time in s since 1970."""
        since, name = self.phases.follow(at)
        if name != self.engine.phase_name:
            self._note(self.engine.phase(max(since, self.engine.phase_time), name))
            self.since_write = True

    def tick(self, now: float, intake: Intake) -> None:
        if made := self.engine.tick(now, intake):
            self._note(made)

    def act(self, act: asyncpg.Record, now: datetime) -> int:
        """Apply a row of alarm_acts; return the number of the transition it became. Raises ActRefused."""
        stored = next((stored for stored in self.rules.values() if stored.rule_id == act["rule_id"]), None)
        if stored is None or act["organization_id"] != self.device.organization_id:
            raise ActRefused(f"the rule does not cover {self.device.name} (any more)")
        row, seen = self.standing.get(stored.rule_id), act["seen_n"]
        if row is not None and row.raised_n is not None and seen is not None and seen < row.raised_n:
            raise ActRefused(f"the alarm was raised again since (its n is {row.n}): look at it first")
        try:
            made = self.engine.act(stored.rule.name, Action(act["action"]), now, act["until"], act["once"])
        except NotPossible as error:
            raise ActRefused(str(error)) from error
        self._note([made], act["who"], act["why"])
        return self.standing[stored.rule_id].n

    def _tell_oddities(self, before: tuple[float, float]) -> None:
        set_back, numbers_back = (now > then for now, then in zip(self.engine.oddities, before, strict=True))
        metrics.CLOCKS_SET_BACK.inc(set_back)
        metrics.NUMBERS_BACK.inc(numbers_back)
        if set_back:
            log.warning("the clock of a device was set back", device=self.device.name)

    # -- rows

    def stored(self) -> None:
        """Forget what was to be written, because it is committed."""
        self.made, self.received, self.since_write = [], [], False
        self.touched = set()

    def _note(self, made: Iterable[Transition], who: str | None = None, why: str | None = None) -> None:
        for transition in made:
            stored = self.rules[transition.rule]
            row = self.standing[stored.rule_id]
            if transition.alarm.active and not row.alarm.active:
                row.raised_at = transition.at
            was = row.value, row.detail
            if transition.detail:  # an act leaves why the alarm was raised, or returned
                value = transition.value
                row.value = value if value is not None and math.isfinite(value) else None
                row.detail = transition.detail
            self._step(row, transition.alarm, transition.at, transition.cause, who=who, why=why)
            if transition.cause.startswith("late"):  # it says nothing of now
                row.value, row.detail = was

    def _step(
        self, row: Standing, alarm: Alarm, at: datetime, cause: str, *, who: str | None = None, why: str | None = None
    ) -> None:
        """Add a transition of `row`, whose value and detail are already new."""
        before, after = row.state, alarm.state
        row.removed_at = at if cause == REMOVED else None
        row.n, row.alarm = row.n + 1, alarm
        if cause == REMOVED:
            after = AlarmState.NORMAL
        if after is not before:
            row.since = at
        if after is AlarmState.UNACKNOWLEDGED is not before:
            row.raised_n = row.n
        self.touched.add(row.rule_id)
        self.made.append(
            Made(
                *(row.rule_id, self.device.device_id, row.n, row.organization_id, at, cause, before.value),
                *(after.value, alarm.condition.value, row.priority, row.value, row.detail, who, why),
                row.raised_n,
            )
        )

    # -- rules

    def _begin(
        self,
        device: WatchedDevice,
        rules: Sequence[StoredRule],
        now: float,
        memory: Mapping[str, Any],
        unreadable: Collection[int],
    ) -> None:
        versions = memory.get("versions", {})
        self.device, self._unreadable = device, unreadable
        self.rules = {stored.rule.name: stored for stored in rules}
        self._silences = frozenset(one.rule_id for one in rules if isinstance(one.rule.when, Silent))
        by_id = {stored.rule_id: stored for stored in rules}
        returned: dict[str, tuple[bool, bool]] = {}
        for stored in rules:
            row = self.standing.setdefault(
                stored.rule_id,
                Standing(stored.rule_id, stored.organization_id, stored.version, stored.rule.priority, moment(now)),
            )
            if row.n == 0:
                self.touched.add(row.rule_id)
            if row.removed_at is not None:
                returned[stored.rule.name] = False, row.alarm.suppressed
        for rule_id, row in self.standing.items():
            if rule_id in by_id:
                self._adopt(row, by_id[rule_id], moment(now))
            elif rule_id not in unreadable and row.removed_at is None:
                row.value, row.detail = None, "the rule does not cover the device any more"
                if row.n:
                    self._step(row, self._held(row, memory), moment(now), REMOVED)
                row.removed_at, row.not_evaluated = moment(now), None
                self.touched.add(rule_id)
        same = {name: versions.get(name) == [stored.rule_id, stored.version] for name, stored in self.rules.items()}
        whose = {name: versions.get(name, [None])[0] == stored.rule_id for name, stored in self.rules.items()}
        kept = dict(memory)
        kept["rules"] = {name: one for name, one in memory.get("rules", {}).items() if same.get(name)}
        kept["entered"] = [[since, name] for since, name in memory.get("entered", []) if same.get(name)]
        suppressed = memory.get("suppressed", {})
        kept["suppressed"] = returned | {name: one for name, one in suppressed.items() if whose.get(name)}
        alarms = {name: self.standing[stored.rule_id].alarm for name, stored in self.rules.items()}
        self.engine = DeviceAlarms([stored.rule for stored in rules], kept, alarms)
        self.late_id = memory.get("late_id", 0)
        self.phases = PhaseFollower(memory, self.phases.confirmed)
        self._picks = {}
        self.forget = not rules
        self.since_write = self.since_write or not all(same.values()) or len(versions) != len(rules)

    def _held(self, row: Standing, memory: Mapping[str, Any]) -> Alarm:
        """What stays of an alarm whose rule does not cover the device any more: what people hold back."""
        name = next((name for name, (rule_id, _) in memory.get("versions", {}).items() if rule_id == row.rule_id), None)
        _, by_person = memory.get("suppressed", {}).get(name, (False, False))
        alarm = row.alarm
        return Alarm(
            shelved_until=alarm.shelved_until,
            shelved_once=alarm.shelved_once,
            suppressed=alarm.suppressed and by_person,
            out_of_service=alarm.out_of_service,
        )

    def _adopt(self, row: Standing, stored: StoredRule, now: datetime) -> None:
        """Continue the alarm under the current version of its rule, or under a rule that covers the device again."""
        returns = row.removed_at is not None
        if row.version == stored.version and not returns:
            return
        row.version, row.priority = stored.version, stored.rule.priority
        self.touched.add(row.rule_id)
        if returns and row.alarm.held_back:
            row.detail = "the rule covers the device again: what people held back stays so"
        if row.alarm != Alarm():
            self._step(row, row.alarm, now, CHANGED)
        row.removed_at = None
