"""Channels: the rule for their names, what is said of one, and the list of those that everybody means the same by.

The database has the list since schema/migrations/0020_channels.sql; the page docs/channels.md shows it.
"""

from __future__ import annotations

import unicodedata
from datetime import datetime
from typing import Literal, NamedTuple, TypeAlias

Kind: TypeAlias = Literal["PV", "SP", "output"]
"""What a channel is in its loop: process value, setpoint, or what the loop sets to reach it."""

LONGEST_NAME, LONGEST_UNIT, LONGEST_TITLE, MOST_DECIMALS = 64, 20, 100, 9

NOT_IN_NAMES = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Unicode's control and format characters, lone surrogates, and separators of lines: nobody sees them in a name."""


def wrong_in_name(name: str) -> str | None:
    """What is wrong with a channel's name: two that look alike would be two channels. None if nothing is."""
    if not 1 <= len(name) <= LONGEST_NAME:
        return f"a name has 1 to {LONGEST_NAME} characters"
    if any(unicodedata.category(sign) in NOT_IN_NAMES for sign in name):
        return "a name has no control characters, and none that cannot be seen"
    if name != name.strip():
        return "a name has no blanks at its ends"
    if not unicodedata.is_normalized("NFC", name):
        return f"write the name in Unicode's form NFC: {unicodedata.normalize('NFC', name)!a}"
    return None


class UnitSpan(NamedTuple):
    """From `since` on, by the time of the samples, a channel is stored in `unit`; None: nobody knows."""

    since: datetime
    unit: str | None


class ChannelTerms(NamedTuple):
    """What holds of a channel of a device now."""

    unit: str | None
    description: str | None
    title: str | None
    kind: Kind | None
    low: float | None
    """With `high` the range of usual values, in `unit`."""
    high: float | None
    decimals: int | None
    step: bool
    """A value holds until the next one, and is never interpolated."""
    units: tuple[UnitSpan, ...] = ()
    """All units that it had, the first from the beginning of time; empty: always `unit`."""

    def units_in(self, begin: datetime, end: datetime) -> list[UnitSpan]:
        """The units of samples in [begin, end), in order of time; the first holds at `begin`."""
        if not self.units:
            return [UnitSpan(begin, self.unit)]
        held = [at for at, span in enumerate(self.units) if span.since <= begin]
        first = held[-1] if held else 0
        return [self.units[first], *(span for span in self.units[first + 1 :] if span.since < end)]


class StandardChannel(NamedTuple):
    """A channel of the standard list. `low` and `high` are the range of usual values, in its unit."""

    name: str
    unit: str
    description: str
    kind: Kind
    low: float
    high: float
    decimals: int

    @property
    def step(self) -> bool:
        """Whether its values hold until the next one, and are never interpolated: a setpoint is set."""
        return self.kind == "SP"


STANDARD = (
    StandardChannel("temperature", "°C", "broth temperature, process value", "PV", 0, 60, 2),
    StandardChannel("temperature_setpoint", "°C", "broth temperature, setpoint", "SP", 0, 60, 2),
    StandardChannel("temperature_output", "%", "temperature controller, output", "output", -100, 100, 1),
    StandardChannel("ph", "pH", "pH, process value", "PV", 0, 14, 2),
    StandardChannel("ph_setpoint", "pH", "pH, setpoint", "SP", 0, 14, 2),
    StandardChannel("ph_output", "%", "pH controller, output: positive base, negative acid", "output", -100, 100, 1),
    StandardChannel("dissolved_oxygen", "%", "dissolved oxygen as part of saturation, process value", "PV", 0, 150, 1),
    StandardChannel("dissolved_oxygen_setpoint", "%", "dissolved oxygen, setpoint", "SP", 0, 150, 1),
    StandardChannel("dissolved_oxygen_output", "%", "dissolved oxygen controller, output", "output", 0, 100, 1),
    StandardChannel("agitation", "rpm", "stirrer speed", "PV", 0, 2000, 0),
    StandardChannel("gas_flow", "sL/h", "total gas flow in", "PV", 0, 600, 1),
    StandardChannel("exhaust_o2", "%", "oxygen in the exhaust gas", "PV", 0, 100, 2),
    StandardChannel("exhaust_co2", "%", "carbon dioxide in the exhaust gas", "PV", 0, 100, 2),
    StandardChannel("otr", "mmol/L/h", "oxygen transfer rate", "PV", 0, 500, 1),
    StandardChannel("ctr", "mmol/L/h", "carbon dioxide transfer rate", "PV", 0, 500, 1),
    StandardChannel("rq", "1", "respiratory quotient, CTR / OTR", "PV", 0, 3, 2),
    StandardChannel("feed_a_rate", "mL/h", "feed A, rate", "PV", 0, 1000, 2),
    StandardChannel("feed_a_total", "mL", "feed A, total volume", "PV", 0, 10000, 1),
    StandardChannel("volume", "mL", "broth volume", "PV", 0, 20000, 0),
    StandardChannel("torque", "mNm", "stirrer torque", "PV", 0, 1000, 0),
    StandardChannel("feed_b_rate", "mL/h", "feed B, rate", "PV", 0, 1000, 2),
    StandardChannel("feed_b_total", "mL", "feed B, total volume", "PV", 0, 10000, 1),
    StandardChannel("feed_c_rate", "mL/h", "feed C, rate", "PV", 0, 1000, 2),
    StandardChannel("feed_c_total", "mL", "feed C, total volume", "PV", 0, 10000, 1),
    StandardChannel("feed_d_rate", "mL/h", "feed D, rate", "PV", 0, 1000, 2),
    StandardChannel("feed_d_total", "mL", "feed D, total volume", "PV", 0, 10000, 1),
    StandardChannel("level", "µS", "level probe", "PV", 0, 1000, 0),
    StandardChannel("weight", "kg", "vessel weight", "PV", 0, 100, 3),
    StandardChannel("pressure", "bar", "head pressure", "PV", 0, 5, 3),
    StandardChannel("foam", "%", "foam probe", "PV", 0, 100, 0),
    StandardChannel("redox", "mV", "redox potential", "PV", -1000, 1000, 0),
    StandardChannel("optical_density", "AU", "optical density", "PV", 0, 200, 2),
    StandardChannel("conductivity", "mS/cm", "conductivity", "PV", 0, 200, 2),
)
