"""Reads scenario files: which faults happen when to which devices, and what a person should see of each.

    title: The exhaust filter foams out
    faults:
      - kind: foam_out
        at: 2h                       # after the begin of the run, in the plant's time
        devices: [sim-0001, "*-7"]   # names or patterns; without it: all
        duration: 30m                # without it: until the end
        magnitude: 1
        expect:
          see: foam climbs into the filter, and the pressure rises
          alarm: [pressure-high]

The library is in the folder device_sim/scenarios. Pure, but for `find`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from schema import plain_yaml
from schema.errors import Misused
from schema.plain_yaml import NotPlain
from schema.times import parse_duration

LIBRARY = Path(__file__).with_name("scenarios")
PLACE = re.compile(r"^(?P<problem>.*) - at `\$(?P<path>.*)`$")
STEP = re.compile(r"\.(\w+)|\[(\d+)\]")


class FaultKind(StrEnum):
    """What can go wrong: first in the vessel and at its probes, then in the controller and the network."""

    PROBE_DRIFT = "probe_drift"
    PROBE_FREEZE = "probe_freeze"
    PROBE_FAILURE = "probe_failure"
    PROBE_FOULING = "probe_fouling"
    FOAM_OUT = "foam_out"
    STIRRER_STALL = "stirrer_stall"
    GAS_LOSS = "gas_loss"
    FEED_BLOCKED = "feed_blocked"
    OVERFEED = "overfeed"
    CONTAMINATION = "contamination"
    POWER_CUT = "power_cut"

    NETWORK_LOSS = "network_loss"
    SLOW = "slow"
    DUPLICATES = "duplicates"
    REORDERING = "reordering"
    MALFORMED = "malformed"
    WRONG_CLOCK = "wrong_clock"
    NTP_STEP = "ntp_step"
    LYING_SEQUENCE = "lying_sequence"
    BOOT_BACK = "boot_back"
    COUNTER_WRAP = "counter_wrap"
    REBOOT = "reboot"

    @property
    def in_vessel(self) -> bool:
        return self in IN_VESSEL

    @property
    def at_probe(self) -> bool:
        return self.startswith("probe_")


IN_VESSEL = frozenset(list(FaultKind)[: list(FaultKind).index(FaultKind.NETWORK_LOSS)])
SHARES = frozenset({FaultKind.DUPLICATES, FaultKind.REORDERING, FaultKind.MALFORMED})
"""Faults whose magnitude is a share of the messages."""


class Trace(StrEnum):
    """What the gateway's records show of a fault."""

    LATE = "late"
    """Frames come later, on the history topic, and none is missing."""
    DUPLICATES = "duplicates"
    """Copies are counted, and each frame is stored once."""
    HOLE = "hole"
    """Numbers are missing, and known as lost."""
    SKEW = "skew"
    """The times of the frames are off."""
    RENUMBERED = "renumbered"
    """The same numbers name other frames."""
    BOOT = "boot"
    """The device comes back with another boot."""


class Expectation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a person should see."""

    see: Annotated[str, Meta(min_length=1, max_length=200)]
    alarm: list[str] = []
    """Rules of device_sim/alarm-rules.yaml that are raised."""
    quarantine: list[str] = []
    """Reasons with which messages go to quarantine."""
    trace: list[Trace] = []


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    kind: FaultKind
    at: str
    expect: Expectation
    devices: tuple[str, ...] = ("*",)
    duration: str | None = None
    magnitude: Annotated[float, Meta(ge=-1e9, le=1e9)] | None = None
    """Each kind has a default of its own."""
    channel: str | None = None

    @property
    def begin_ms(self) -> float:
        """After the begin of the run."""
        return 0.0 if self.at == "0" else parse_duration(self.at).total_seconds() * 1000

    @property
    def end_ms(self) -> float | None:
        if self.duration is None:
            return None
        return self.begin_ms + parse_duration(self.duration).total_seconds() * 1000

    def hits(self, names: Sequence[str]) -> list[int]:
        """The positions of the devices that the fault is for."""
        return [i for i, name in enumerate(names) if any(fnmatchcase(name, pattern) for pattern in self.devices)]


class _Written(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    title: Annotated[str, Meta(min_length=1, max_length=100)]
    faults: list[object]
    about: str = ""


@dataclass(frozen=True)
class Scenario:
    name: str
    title: str
    faults: tuple[Fault, ...]
    about: str = ""
    """Which plant and how long a run it needs, for people."""


class BadScenario(Misused):
    """Raised with everything that is wrong with a scenario file, each with its line."""


def read(text: str | bytes, name: str) -> Scenario:
    """Read a scenario. Raises BadScenario."""
    try:
        document, lines = plain_yaml.read(text)
    except NotPlain as error:
        raise BadScenario(f"{name}: {error}") from None
    try:
        written = msgspec.convert(document, _Written)
    except msgspec.ValidationError as error:
        raise BadScenario(_told(name, error, (), lines)) from None
    faults, problems = [], []
    for number, item in enumerate(written.faults):
        place: plain_yaml.Path = ("faults", number)
        try:
            fault = msgspec.convert(item, Fault)
        except msgspec.ValidationError as error:
            problems.append(_told(name, error, place, lines))
            continue
        wrong = [f"{name}: line {lines.get((*place, field), lines[place])}: {what}" for field, what in _wrong(fault)]
        problems += wrong
        faults.append(fault)
    if not written.faults:
        problems.append(f"{name}: line {lines['faults',]}: there is no fault")
    if problems:
        raise BadScenario("\n".join(problems))
    return Scenario(name, written.title, tuple(faults), written.about)


def _told(name: str, error: msgspec.ValidationError, place: plain_yaml.Path, lines: dict[plain_yaml.Path, int]) -> str:
    """The error in words, with the line of what it is about."""
    found = PLACE.match(str(error))
    problem, path = (found["problem"], found["path"]) if found else (str(error), "")
    steps = tuple(word or int(number) for word, number in STEP.findall(path))
    where = (*place, *steps)
    while where not in lines:
        where = where[:-1]
    field = ".".join(map(str, steps))
    return f"{name}: line {lines[where]}: {f'{field}: ' if field else ''}{problem[:1].lower()}{problem[1:]}"


def _wrong(fault: Fault) -> Iterator[tuple[str, str]]:
    """What a fault contradicts, as (field, problem)."""
    for field, given in (("at", fault.at), ("duration", fault.duration)):
        if given is None or (field == "at" and given == "0"):
            continue
        try:
            parse_duration(given)
        except ValueError as error:
            yield field, f"{field}: {error}"
    if fault.kind.at_probe and fault.channel is None:
        yield "kind", f"{fault.kind} needs a channel"
    if not fault.kind.at_probe and fault.channel is not None:
        yield "channel", f"{fault.kind} has no channel"
    if fault.kind in SHARES and not 0 < (1 if fault.magnitude is None else fault.magnitude) <= 1:
        yield "magnitude", f"the magnitude of {fault.kind} is a share, above 0 and at most 1"
    if not fault.devices:
        yield "devices", "the list of devices is empty"


def library() -> list[Scenario]:
    """All scenarios that Biogate brings, by name."""
    return [read(path.read_bytes(), path.stem) for path in sorted(LIBRARY.glob("*.yaml"))]


def find(named: str) -> Scenario:
    """The scenario of a file, or that of the library with this name. Raises BadScenario, OSError."""
    shipped = LIBRARY / f"{named}.yaml"
    if "/" not in named and shipped.is_file():
        return read(shipped.read_bytes(), named)
    path = Path(named)
    if not path.is_file():
        known = ", ".join(one.stem for one in sorted(LIBRARY.glob("*.yaml")))
        raise BadScenario(f"there is no file and no scenario {named}: biogate brings {known}")
    return read(path.read_bytes(), str(path))
