"""Carries out commands on a simulated controller: setpoints and modes go to the loops of its vessel.

It remembers its answers, also over restarts if it has a file, so that a repeated command is not carried out again. It
has no clock of its own: time is an argument, in ms.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec

from schema.messages import Command

MEMORY = 100
"""The least number of answers that are remembered. None is forgotten before its command has expired."""
MOST = 1000
SETPOINT, MODE = "_setpoint", "_mode"
MODES = {"off": 0.0, "auto": 1.0, "manual": 2.0}
"""The modes of a loop, as its vessel takes them."""

Order = Callable[[str, float], str | None]
"""Orders a value of a channel from the vessel; returns why that is refused, or None. NaN: what the recipe says."""


class CommandRefused(Exception):
    """Raised when a command is not carried out; the text says why."""


class CommandReply(msgspec.Struct, omit_defaults=True):
    """The answer to a command, with `id`, `status` and so on as in the contract; `expires` is the command's."""

    id: UUID
    status: str
    t: float
    expires: float
    detail: str | None = None
    data: dict[str, Any] | None = None


class CommandHandler:
    def __init__(
        self,
        firmware: str,
        channels: Sequence[str] = (),
        order: Order = lambda *_: "there is no vessel",
        file: Path | None = None,
        delay: float | None = 0.0,
    ) -> None:
        """`delay`: ms from acceptance to end of a command, None: no answers. Raises ValueError for a damaged file."""
        self._firmware, self._channels, self._order = firmware, tuple(channels), order
        self._file, self._delay = file, delay
        self.shown: Sequence[float] = ()
        """What the instruments showed last, a value a channel."""
        self._ordered: dict[str, float] = {}
        """Setpoints that were ordered, by channel, NaN: the recipe's; they are not shown before the next frame."""
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
        if not self._late:
            return []
        due = [_result(answer) | {"t": time} for at, answer in self._late if at <= time]
        self._late = [(at, answer) for at, answer in self._late if at > time]
        return due

    def lose_power(self) -> None:
        """Return to the recipe; answers are kept."""
        for channel in self._ordered:
            self._order(channel, math.nan)
        self._ordered.clear()
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

    def _setpoint(self, parameters: dict[str, Any], _: float) -> dict[str, Any]:
        channel = self._loop(parameters, {"channel", "value"}) + SETPOINT
        value = parameters["value"]
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise CommandRefused("value is not a number")
        before = self._in_force(channel)
        self._ask(channel, float(value))
        self._ordered[channel] = float(value)
        return {"before": before}

    def _control(self, parameters: dict[str, Any], _: float) -> dict[str, Any]:
        """Set the mode of a loop: auto follows the recipe's setpoint, manual keeps the output, off is off."""
        loop, mode = self._loop(parameters, {"channel", "mode"}), parameters["mode"]
        if not isinstance(mode, str) or mode not in MODES:
            raise CommandRefused("mode is not one of off, auto and manual")
        setpoint = self._in_force(loop + SETPOINT)
        self._ask(loop + MODE, MODES[mode])
        self._ordered[loop + MODE] = MODES[mode]
        if mode == "auto":
            self._ask(loop + SETPOINT, math.nan)
            self._ordered[loop + SETPOINT] = math.nan
        return {"setpoint": setpoint}

    def _identify(self, parameters: dict[str, Any], _: float) -> dict[str, Any]:
        if parameters:
            raise CommandRefused("the command has no parameters")
        return {"firmware": self._firmware, "channels": list(self._channels)}

    # Loops

    def _loop(self, parameters: dict[str, Any], names: set[str]) -> str:
        """The channel whose loop is meant; its setpoint's name means it, too."""
        if set(parameters) != names:
            raise CommandRefused(f"the parameters are {' and '.join(sorted(names))}")
        channel = parameters["channel"]
        if not isinstance(channel, str) or channel.removesuffix(SETPOINT) + SETPOINT not in self._channels:
            raise CommandRefused("no channel of that name has a setpoint")
        return channel.removesuffix(SETPOINT)

    def _ask(self, channel: str, value: float) -> None:
        if why := self._order(channel, value):
            raise CommandRefused(why)

    def _in_force(self, channel: str) -> float | None:
        """The setpoint that was ordered or shown last; None: the recipe has the say, and nothing was shown yet."""
        value = self._ordered.get(channel, math.nan)
        if math.isnan(value) and self.shown:
            value = self.shown[self._channels.index(channel)]
        return value if math.isfinite(value) else None


def _result(answer: CommandReply) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(answer)
    return {name: value for name, value in fields.items() if name != "expires"}
