"""Computes what the instruments of many vessels show at given times. Pure: the same seed, names and times give the same
values.

Each vessel repeats the run of culture.py, at its own size and pace, from its own start. Noise is a hash of (seed, name,
channel, time), not the next number of a generator: a device shows the same value at the same time whatever the rest of
the fleet does. Arrays have one row a device and one column a channel of CHANNELS.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from device_sim import culture
from device_sim.culture import Phase
from schema.channels import STANDARD
from schema.messages import BAD, UNCERTAIN

Floats: TypeAlias = npt.NDArray[np.float64]
Hashes: TypeAlias = npt.NDArray[np.uint64]
Ints: TypeAlias = npt.NDArray[np.int64]

# Channel, decimals shown, white noise, slow noise (minutes), in the unit of the channel.
INSTRUMENTS = (
    ("temperature", 2, 0.01, 0.03),
    ("temperature_setpoint", 1, 0.0, 0.0),
    ("temperature_output", 1, 0.4, 0.5),
    ("ph", 2, 0.004, 0.01),
    ("ph_setpoint", 2, 0.0, 0.0),
    ("ph_output", 1, 0.3, 0.5),
    ("dissolved_oxygen", 1, 0.15, 0.8),
    ("dissolved_oxygen_setpoint", 1, 0.0, 0.0),
    ("dissolved_oxygen_output", 1, 0.2, 0.5),
    ("agitation", 0, 1.0, 0.0),
    ("gas_flow", 2, 0.05, 0.1),
    ("exhaust_o2", 3, 0.006, 0.008),
    ("exhaust_co2", 3, 0.003, 0.004),
    ("otr", 2, 0.0, 0.0),
    ("ctr", 2, 0.0, 0.0),
    ("rq", 3, 0.0, 0.0),
    ("feed_a_rate", 3, 0.0, 0.0),
    ("feed_a_total", 3, 0.0, 0.0),
    ("volume", 1, 0.3, 1.0),
    ("torque", 2, 0.05, 0.1),
)
CHANNELS = tuple(name for name, *_ in INSTRUMENTS)
DESCRIBED = {
    it.name: {"unit": it.unit, "decimals": decimals}
    for it in STANDARD
    for name, decimals, *_ in INSTRUMENTS
    if it.name == name and it.decimals != decimals
}
"""What the firmware says of its channels at an enrollment, where it shows other decimals than the standard list."""
COLUMN = {name: column for column, name in enumerate(CHANNELS)}
SCALE = 10.0 ** np.array([decimals for _, decimals, *_ in INSTRUMENTS])
WHITE, SLOW = (np.array([row[i] for row in INSTRUMENTS]) for i in (2, 3))
LOW, HIGH = np.full(len(CHANNELS), -np.inf), np.full(len(CHANNELS), np.inf)
LOW[[COLUMN[name] for name in ("agitation", "gas_flow", "dissolved_oxygen", "dissolved_oxygen_output")]] = 0.0
LOW[[COLUMN[name] for name in ("temperature_output", "ph_output")]] = -100.0
HIGH[[COLUMN[name] for name in CHANNELS if name.endswith("_output")]] = 100.0
PROBES = np.array([COLUMN[name] for name in ("temperature", "ph", "dissolved_oxygen", "exhaust_o2", "exhaust_co2")])

RUN_COLUMNS = [COLUMN[name] for name in culture.CultureRow._fields[:11]]
OTR, FEED_RATE, FEED_TOTAL, VOLUME = range(11, 15)
HOUR = 3_600_000.0  # ms
STEPS_IN_HOUR = 1 / culture.STEP

AIR_O2, AIR_CO2, LITRES_IN_MOLE = 0.2095, 0.0004, 22.414
RESPIRATORY_QUOTIENT = 1.04
"""The culture model has no carbon dioxide; E. coli on glucose produces about as much of it as it takes up oxygen."""
NO_TRANSFER = 0.05
"""The OTR (mmol/L/h) below which no quotient is computed."""

SLOW_MS, FAULT_MS, FAULT_ONE_IN = 60_000, 30_000, 500
DOSING_HOURS, DOSING_ONE_IN = 0.5, 4


@dataclass(frozen=True)
class Vessels:
    """The properties in which the vessels differ; every field has one row a vessel."""

    key: Hashes
    channel_key: Hashes
    size: Floats
    pace: Floats
    began: Floats
    """Hours of the run that had passed at time 0."""
    bias: Floats
    """The constant error of each instrument."""
    doses: Ints
    """Doses of antifoam given until each half-hour of a run."""

    def __getitem__(self, part: slice) -> Vessels:
        return Vessels(*(getattr(self, name)[part] for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class VesselSample:
    values: Floats
    """NaN where a channel is due and has no value."""
    fault_channel: Ints
    """The column of a channel whose quality is not good, or -1."""
    fault_quality: Ints
    phase: Ints
    dosing: Ints
    """Doses of antifoam so far in this run."""


def vessels(names: list[str], seed: int) -> Vessels:
    digests = (hashlib.blake2b(f"{seed}:{name}".encode(), digest_size=8).digest() for name in names)
    key = np.array([int.from_bytes(digest, "little") for digest in digests], dtype=np.uint64)
    channel_key = mixed(numbered(key, len(CHANNELS)))
    one, two, three = (mixed(key + np.uint64(1000 + i)) / 2.0**64 for i in range(3))
    bias = normal(mixed(channel_key + np.uint64(1))) * SLOW * 0.5
    return Vessels(key, channel_key, 0.5 + one, 0.9 + 0.2 * two, three * culture.LENGTH, bias, doses(key))


def take_sample(vessels: Vessels, time: float, speed: float) -> VesselSample:
    """Sample the vessels at `time` (ms since 1970), when processes run `speed` times as fast as the clock."""
    hour = (time / HOUR * speed * vessels.pace + vessels.began) % culture.LENGTH
    place = hour * STEPS_IN_HOUR
    before = place.astype(np.int64)
    part = (place - before)[:, None]
    run = culture.table()
    row, after = run[before], run[np.minimum(before + 1, len(run) - 1)]
    truth = row + part * (after - row)

    shown = np.zeros((len(hour), len(CHANNELS)))  # `transfer` overwrites its columns, with the noise in them
    shown[:, RUN_COLUMNS] = truth[:, :11]
    # A faster vessel does the same run in less time: its rates are higher, its totals are not.
    otr = truth[:, OTR] * vessels.pace
    litres = truth[:, VOLUME] / 1000 * vessels.size
    shown[:, COLUMN["gas_flow"]] *= vessels.size
    shown[:, COLUMN["feed_a_rate"]] = truth[:, FEED_RATE] * vessels.pace * vessels.size
    shown[:, COLUMN["feed_a_total"]] = truth[:, FEED_TOTAL] * vessels.size
    shown[:, COLUMN["volume"]] = litres * 1000
    shown[:, COLUMN["torque"]] = 22 + 25e-6 * shown[:, COLUMN["agitation"]] ** 2
    shown[:, COLUMN["exhaust_o2"]], shown[:, COLUMN["exhaust_co2"]] = exhaust(
        shown[:, COLUMN["gas_flow"]], litres, otr, otr * RESPIRATORY_QUOTIENT
    )
    shown += vessels.bias + noise(vessels.channel_key, int(time))
    np.clip(shown, LOW, HIGH, out=shown)
    transfer(shown)

    code = mixed(vessels.key + np.uint64(int(time) // FAULT_MS))
    faulty = code % np.uint64(FAULT_ONE_IN) == 0
    probe = PROBES[(code >> np.uint64(32)) % np.uint64(len(PROBES))]
    quality = np.where(code >> np.uint64(63), BAD, UNCERTAIN)
    dead = np.flatnonzero(faulty & (quality == BAD))
    shown[dead, probe[dead]] = np.nan
    values = np.round(shown * SCALE) / SCALE
    return VesselSample(
        values=values,
        fault_channel=np.where(faulty, probe, -1),
        fault_quality=quality,
        phase=np.searchsorted(culture.STARTS, hour, side="right") - 1,
        dosing=vessels.doses[np.arange(len(hour)), (hour / DOSING_HOURS).astype(np.int64)],
    )


def exhaust(gas_flow: Floats, litres: Floats, otr: Floats, ctr: Floats) -> tuple[Floats, Floats]:
    """O2 and CO2 (%) in the exhaust: those of the air, less the OTR, plus the CTR (mmol/L/h); `gas_flow` is in L/h."""
    air = np.maximum(gas_flow, 0.1) / LITRES_IN_MOLE
    taken, given = otr * litres / 1000, ctr * litres / 1000
    out = air - taken + given
    return 100 * (air * AIR_O2 - taken) / out, 100 * (air * AIR_CO2 + given) / out


def transfer(shown: Floats) -> None:
    """Fill in OTR, CTR and RQ as a controller does: from the gas it measured, noise and all, with nitrogen as inert.

    At low gas exchange OTR is negative at times and RQ absurd, as in real records.
    """
    o2, co2 = shown[:, COLUMN["exhaust_o2"]] / 100, shown[:, COLUMN["exhaust_co2"]] / 100
    air = shown[:, COLUMN["gas_flow"]] / LITRES_IN_MOLE
    out = air * (1 - AIR_O2 - AIR_CO2) / (1 - o2 - co2)
    per_litre = 1e6 / shown[:, COLUMN["volume"]]
    otr = shown[:, COLUMN["otr"]] = (air * AIR_O2 - out * o2) * per_litre
    ctr = shown[:, COLUMN["ctr"]] = (out * co2 - air * AIR_CO2) * per_litre
    measurable = np.abs(otr) > NO_TRANSFER
    shown[:, COLUMN["rq"]] = np.where(measurable, ctr / np.where(measurable, otr, 1.0), np.nan)


def doses(key: Hashes) -> Ints:
    """Doses of antifoam until each half-hour of a run: some, during the feed phases, different for every vessel."""
    slots = int(culture.LENGTH / DOSING_HOURS) + 1
    chosen = mixed(numbered(key, slots)) % np.uint64(DOSING_ONE_IN) == 0
    first, last = (int(culture.STARTS[phase] / DOSING_HOURS) for phase in (Phase.EXPONENTIAL_FEED, Phase.HARVEST))
    chosen[:, : first + 1] = False
    chosen[:, last:] = False
    return np.cumsum(chosen, axis=1)


def noise(channel_key: Hashes, time: int) -> Floats:
    """White noise, and slow noise that is smooth over a minute."""
    minute, rest = divmod(time, SLOW_MS)
    part = rest / SLOW_MS
    part = part * part * (3 - 2 * part)
    old, new = (normal(mixed(channel_key + np.uint64(2 + minute + i))) for i in (0, 1))
    white = normal(mixed(channel_key ^ np.uint64(time)))
    total: Floats = white * WHITE + (old + part * (new - old)) * SLOW
    return total


def mixed(x: Hashes) -> Hashes:
    """64 well-mixed bits for each number (the finalizer of splitmix64)."""
    a: Hashes = (x + np.uint64(0x9E3779B97F4A7C15)) * np.uint64(0xBF58476D1CE4E5B9)
    b: Hashes = (a ^ (a >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return b ^ (b >> np.uint64(31))


def numbered(key: Hashes, count: int) -> Hashes:
    """One row a key, one column a number from 0: an input of mixed for each."""
    numbers: Hashes = np.arange(count, dtype=np.uint64)
    return np.add(key[:, None], numbers, dtype=np.uint64)


def normal(bits: Hashes) -> Floats:
    """About normal, mean 0, deviation 1: the sum of four uniform 16-bit parts of each number."""
    parts = bits.view(np.uint16).reshape(*bits.shape, 4)
    total: Ints = parts.sum(axis=-1, dtype=np.int64)
    return (total - 131_070) / 37_837.0
