"""Carries out commands on a simulated controller, and keeps the setpoints that people have changed.

It remembers its answers, also over restarts if it has a file, so that a repeated command is not carried out again. It
has no clock of its own: time is an argument, in ms.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec

from device_sim.vessels import CHANNELS, COLUMN, HIGH, LOW, SCALE
from schema.messages import Command

MEMORY = 100
"""The least number of answers that are remembered. None is forgotten before its command has expired."""
MOST = 1000
FOLLOWS_MS = 60_000.0
"""Time constant, in ms of process time, with which the vessel follows a changed setpoint."""
SETPOINT = "_setpoint"
LIMITS = {"temperature": (0.0, 100.0), "ph": (2.0, 12.0), "dissolved_oxygen": (0.0, 100.0)}
"""Limits of the setpoints of these channels."""


class CommandRefused(Exception):
    """Raised when a command is not carried out; the text says why."""


@dataclass
class SetpointChange:
    """A setpoint that differs from the recipe, with the vessel's offset from the recipe when it was changed."""

    value: float
    since: float
    offset: float


class CommandReply(msgspec.Struct, omit_defaults=True):
    """The answer to a command, with `id`, `status` and so on as in the contract; `expires` is the command's."""

    id: UUID
    status: str
    t: float
    expires: float
    detail: str | None = None
    data: dict[str, Any] | None = None


class CommandHandler:
    def __init__(self, firmware: str, file: Path | None = None, speed: float = 1.0, delay: float | None = 0.0) -> None:
        """`delay`: ms from acceptance to end of a command, None: no answers. Raises ValueError for a damaged file."""
        self._firmware, self._file, self._speed, self._delay = firmware, file, speed, delay
        self._changes: dict[int, SetpointChange] = {}
        self._recipe: list[float] = [math.nan] * len(CHANNELS)
        self._answers: dict[UUID, CommandReply] = {}
        self._late: list[tuple[float, CommandReply]] = []
        if file is not None and file.exists():
            try:
                answers = msgspec.json.decode(file.read_bytes(), type=list[CommandReply])
            except msgspec.DecodeError as error:
                raise ValueError(f"{file} is damaged: {error}") from error
            self._answers = {answer.id: answer for answer in answers}
        self._works: dict[str, Callable[[dict[str, Any], float], dict[str, Any]]] = {
            "setpoint": self._setpoint,
            "control": self._control,
            "identify": self._identify,
        }

    # Commands

    def command(self, command: Command, boot: int, time: float) -> list[dict[str, Any]]:
        """Carry out a command, unless it was before; return the results to send now."""
        before = self._answers.get(command.id)
        if before is not None:
            return [] if self._delay is None or self._is_late(before) else [_result(before)]
        answer = CommandReply(command.id, "done", time, command.expires)
        try:
            self._check(command, boot, time)
            answer.data = self._works[command.name](command.parameters, time)
        except CommandRefused as why:
            answer.status, answer.detail = "refused", str(why)
        self._remember(answer, time)
        if self._delay is None:
            return []
        if self._delay and answer.status == "done":
            self._late.append((time + self._delay, answer))
            return [{"id": str(command.id), "status": "accepted", "t": time}]
        return [_result(answer)]

    def tick(self, time: float) -> list[dict[str, Any]]:
        """The results that are due by now."""
        due = [_result(answer) | {"t": time} for at, answer in self._late if at <= time]
        self._late = [(at, answer) for at, answer in self._late if at > time]
        return due

    def lose_power(self) -> None:
        """Return to the recipe's setpoints; answers are kept."""
        self._changes.clear()
        self._late.clear()

    def _is_late(self, answer: CommandReply) -> bool:
        return any(late is answer for _, late in self._late)

    def _check(self, command: Command, boot: int, time: float) -> None:
        if time >= command.expires:
            raise CommandRefused("the command has expired")
        if command.boot is not None and command.boot != boot:
            raise CommandRefused(f"the command is for boot {command.boot}, this is boot {boot}")
        if command.name not in self._works:
            raise CommandRefused(f"no such command: {command.name[:100]}")
        if len(self._answers) >= MOST:
            raise CommandRefused("too many commands at once")

    def _remember(self, answer: CommandReply, time: float) -> None:
        """Remember an answer; it is on the disk before it is sent."""
        self._answers[answer.id] = answer
        for old in [old for old in self._answers.values() if old.expires <= time]:
            if len(self._answers) > MEMORY:
                del self._answers[old.id]
        if self._file is not None:
            draft = self._file.with_name(f"{self._file.name}.new")
            with draft.open("wb") as file:
                file.write(msgspec.json.encode(list(self._answers.values())))
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self._file)

    # The commands

    def _setpoint(self, parameters: dict[str, Any], time: float) -> dict[str, Any]:
        column = _column(parameters, {"channel", "value"})
        value = parameters["value"]
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise CommandRefused("value is not a number")
        low, high = LIMITS[CHANNELS[_measured(column)]]
        if not low <= value <= high:
            raise CommandRefused(f"value is not from {low:g} to {high:g}")
        before = self._in_force(column)
        self._change(column, float(value), time)
        return {"before": None if math.isnan(before) else before}

    def _control(self, parameters: dict[str, Any], time: float) -> dict[str, Any]:
        """Set the mode: auto follows the recipe's setpoint, manual keeps the present one."""
        column = _column(parameters, {"channel", "mode"})
        mode, now = parameters["mode"], self._in_force(column)
        if mode not in ("auto", "manual"):
            raise CommandRefused("mode is neither auto nor manual")
        if mode == "manual" and math.isnan(now):
            raise CommandRefused("there is no setpoint yet")
        self._change(column, math.nan if mode == "auto" else now, time)
        return {"setpoint": None if math.isnan(now) else now}

    def _identify(self, parameters: dict[str, Any], time: float) -> dict[str, Any]:
        if parameters:
            raise CommandRefused("the command has no parameters")
        return {"firmware": self._firmware, "channels": list(CHANNELS)}

    # Setpoints

    def _in_force(self, column: int) -> float:
        change = self._changes.get(column)
        return self._recipe[column] if change is None or math.isnan(change.value) else change.value

    def _change(self, column: int, value: float, time: float) -> None:
        """Change a setpoint; NaN returns to the recipe's. The vessel goes on from where it is."""
        self._changes[column] = SetpointChange(value, time, self._offset(column, time))

    def _offset(self, column: int, time: float) -> float:
        """The vessel's offset from the recipe at `time`."""
        change = self._changes.get(column)
        if change is None or math.isnan(self._recipe[column]):
            return 0.0
        goal = 0.0 if math.isnan(change.value) else change.value - self._recipe[column]
        return goal + (change.offset - goal) * math.exp(-max(0.0, time - change.since) * self._speed / FOLLOWS_MS)

    def show(self, values: list[float], time: float) -> list[float]:
        """The values that the instruments show where the recipe alone would give `values`."""
        self._recipe = values
        if not self._changes:
            return values
        shown = values.copy()
        for column, change in self._changes.items():
            if not math.isnan(change.value):
                shown[column] = change.value
            measured = _measured(column)
            moved = values[measured] + self._offset(column, time)
            decimals = round(math.log10(SCALE[measured]))
            shown[measured] = round(min(max(moved, float(LOW[measured])), float(HIGH[measured])), decimals)
        return shown


def _column(parameters: dict[str, Any], names: set[str]) -> int:
    """The column of a channel's setpoint, which may be named by the channel's name, too."""
    if set(parameters) != names:
        raise CommandRefused(f"the parameters are {' and '.join(sorted(names))}")
    channel = parameters["channel"]
    if not isinstance(channel, str) or channel.removesuffix(SETPOINT) not in LIMITS:
        raise CommandRefused("no channel of that name has a setpoint")
    return COLUMN[channel.removesuffix(SETPOINT) + SETPOINT]


def _measured(column: int) -> int:
    """The column of the channel that a setpoint belongs to."""
    return COLUMN[CHANNELS[column].removesuffix(SETPOINT)]


def _result(answer: CommandReply) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(answer)
    return {name: value for name, value in fields.items() if name != "expires"}
