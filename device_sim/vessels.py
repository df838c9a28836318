"""Computes what the instruments of many vessels show of what is true. Pure: the same seed, names and times give the
same values.

Noise is a hash of (seed, name, channel, time), not the next number of a generator: a device shows the same value at the
same time whatever the rest of the fleet does. Arrays have one row a device or an instant, and one column a channel.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from device_sim.process.loops import AIR_CO2
from device_sim.process.readings import CHANNELS, COLUMN
from schema.channels import STANDARD
from schema.messages import BAD, UNCERTAIN

Floats: TypeAlias = npt.NDArray[np.float64]
Hashes: TypeAlias = npt.NDArray[np.uint64]
Ints: TypeAlias = npt.NDArray[np.int64]

# Channel, decimals shown, white noise, slow noise (minutes), in the unit of the channel.
INSTRUMENTS = (
    ("temperature", 2, 0.01, 0.03),
    ("temperature_setpoint", 1, 0.0, 0.0),
    ("temperature_output", 1, 0.15, 0.3),
    ("ph", 2, 0.004, 0.01),
    ("ph_setpoint", 2, 0.0, 0.0),
    ("ph_output", 1, 0.3, 0.5),
    ("dissolved_oxygen", 1, 0.15, 0.5),
    ("dissolved_oxygen_setpoint", 1, 0.0, 0.0),
    ("dissolved_oxygen_output", 1, 0.1, 0.3),
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
    ("temperature_mode", 0, 0.0, 0.0),
    ("ph_mode", 0, 0.0, 0.0),
    ("dissolved_oxygen_mode", 0, 0.0, 0.0),
    ("feed_a_rate_mode", 0, 0.0, 0.0),
    ("feed_a_rate_setpoint", 3, 0.0, 0.0),
    ("jacket_temperature", 2, 0.02, 0.05),
    ("inlet_o2", 2, 0.0, 0.0),
    ("feed_b_total", 3, 0.0, 0.0),
    ("feed_c_total", 3, 0.0, 0.0),
    ("feed_d_total", 2, 0.0, 0.0),
    ("harvest_total", 2, 0.0, 0.0),
    ("volume_setpoint", 0, 0.0, 0.0),
    ("volume_output", 1, 0.1, 0.2),
    ("optical_density", 2, 0.02, 0.03),
    ("weight", 3, 0.0005, 0.001),
    ("pressure", 3, 0.0005, 0.001),
    ("pressure_setpoint", 3, 0.0, 0.0),
    ("pressure_output", 1, 0.2, 0.3),
    ("foam", 0, 0.3, 0.5),
    ("conductivity", 2, 0.01, 0.03),
    ("inlet_co2", 2, 0.0, 0.0),
)
assert tuple(name for name, *_ in INSTRUMENTS) == CHANNELS
FURTHER = {
    "temperature_mode": ("1", "temperature loop: 0 off, 1 auto, 2 manual", "SP"),
    "ph_mode": ("1", "pH loop: 0 off, 1 auto, 2 manual", "SP"),
    "dissolved_oxygen_mode": ("1", "dissolved oxygen loop: 0 off, 1 auto, 2 manual", "SP"),
    "feed_a_rate_mode": ("1", "feed A: 0 off, 1 auto, 2 manual", "SP"),
    "feed_a_rate_setpoint": ("mL/h", "feed A, setpoint of the rate", "SP"),
    "jacket_temperature": ("°C", "water in the jacket", "PV"),
    "inlet_o2": ("%", "oxygen in the gas that flows in", "PV"),
    "inlet_co2": ("%", "carbon dioxide in the gas that flows in", "PV"),
    "harvest_total": ("mL", "harvest, total volume", "PV"),
    "volume_setpoint": ("mL", "broth volume, setpoint", "SP"),
    "volume_output": ("%", "level controller, output to the harvest pump", "output"),
    "pressure_setpoint": ("bar", "head pressure, setpoint", "SP"),
    "pressure_output": ("%", "pressure controller, output to the exhaust valve", "output"),
}
"""Channels of ours that are not on the standard list: unit, title, kind."""
DESCRIBED: dict[str, dict[str, object]] = {
    it.name: {"unit": it.unit, "decimals": decimals}
    for it in STANDARD
    for name, decimals, *_ in INSTRUMENTS
    if it.name == name and it.decimals != decimals
} | {
    name: {"unit": FURTHER[name][0], "title": FURTHER[name][1], "kind": FURTHER[name][2], "decimals": decimals}
    for name, decimals, *_ in INSTRUMENTS
    if name in FURTHER
}
"""What the firmware says of its channels at an enrollment, where the standard list does not say the same."""
SCALE = 10.0 ** np.array([decimals for _, decimals, *_ in INSTRUMENTS])
WHITE, SLOW = (np.array([row[i] for row in INSTRUMENTS]) for i in (2, 3))
NOISY = np.flatnonzero(WHITE)
LOW, HIGH = np.full(len(CHANNELS), -np.inf), np.full(len(CHANNELS), np.inf)
POSITIVE = ("agitation", "gas_flow", "dissolved_oxygen", "dissolved_oxygen_output", "optical_density", "foam")
LOW[[COLUMN[name] for name in (*POSITIVE, "pressure_output", "volume_output", "conductivity", "volume")]] = 0.0
LOW[[COLUMN[name] for name in ("temperature_output", "ph_output")]] = -100.0
HIGH[[COLUMN[name] for name in CHANNELS if name.endswith("_output") or name == "foam"]] = 100.0
OUTPUTS = np.array([COLUMN[name] for name in CHANNELS if name.endswith("_output")])
ACTUATORS = np.array([*OUTPUTS, COLUMN["agitation"], COLUMN["gas_flow"]])
"""Columns that are quiet where they are 0: what is off makes no noise. Outputs are quiet at their bounds, too."""
UNBIASED = np.isin(CHANNELS, [name for name in CHANNELS if name.endswith("_output")])
PROBES = np.array([COLUMN[name] for name in ("temperature", "ph", "dissolved_oxygen", "exhaust_o2", "exhaust_co2")])

LITRES_IN_MOLE = 22.414
NO_TRANSFER = 0.05
"""The OTR (mmol/L/h) below which no quotient is computed."""
LEAST_VOLUME = 20.0
"""The volume (mL) below which no rate for a litre is computed."""
AT_BOUND = 99.99
SLOW_MS, FAULT_MS, FAULT_ONE_IN = 60_000, 30_000, 500


@dataclass(frozen=True)
class VesselSample:
    values: Floats
    """NaN where a channel is due and has no value, or the vessel has no such channel."""
    fault_channel: Ints
    """The column of a channel whose quality is not good, or -1."""
    fault_quality: Ints


@dataclass(frozen=True)
class Instruments:
    """The instruments of vessels; every field has one row a vessel."""

    key: Hashes
    channel_key: Hashes
    bias: Floats
    """The constant error of each instrument."""

    def __getitem__(self, part: slice) -> Instruments:
        return Instruments(self.key[part], self.channel_key[part], self.bias[part])


def instruments(names: Sequence[str], seed: int) -> Instruments:
    key = np.array([name_key(name, seed) for name in names], dtype=np.uint64)
    channel_key = mixed(numbered(key, len(CHANNELS)))
    bias = normal(mixed(channel_key + np.uint64(1))) * np.where(UNBIASED, 0.0, SLOW * 0.5)
    return Instruments(key, channel_key, bias)


def name_key(name: str, seed: int) -> int:
    return int.from_bytes(hashlib.blake2b(f"{seed}:{name}".encode(), digest_size=8).digest(), "little")


def shown(truth: Floats, it: Instruments, times: Ints) -> Floats:
    """Return what instruments show where `truth` is true, which is overwritten. `times` are ms since 1970: one for all,
    or one for each row of `truth`, where `it` has the instruments of one vessel."""
    part = it.bias + noise(it.channel_key, times)
    still = truth[:, ACTUATORS] == 0.0
    still[:, : len(OUTPUTS)] |= np.abs(truth[:, OUTPUTS]) >= AT_BOUND
    part[:, ACTUATORS] = np.where(still, 0.0, part[:, ACTUATORS])
    truth += part
    np.clip(truth, LOW, HIGH, out=truth)
    transfer(truth)
    truth *= SCALE
    np.rint(truth, out=truth)
    truth /= SCALE
    return truth


def faulted(values: Floats, it: Instruments, times: Ints) -> VesselSample:
    """Return a sample in which now and then a probe is not to be trusted, or says nothing for half a minute."""
    code = mixed(it.key + (times // FAULT_MS).astype(np.uint64))
    faulty = code % np.uint64(FAULT_ONE_IN) == 0
    probe = PROBES[(code >> np.uint64(32)) % np.uint64(len(PROBES))]
    quality = np.where(code >> np.uint64(63), BAD, UNCERTAIN)
    dead = np.flatnonzero(faulty & (quality == BAD))
    values[dead, probe[dead]] = np.nan
    return VesselSample(values, np.where(faulty, probe, -1), quality)


def transfer(shown: Floats) -> None:
    """Fill in OTR, CTR and RQ as a controller does: from the gas it measured, noise and all, with nitrogen as inert.

    At low gas exchange OTR is negative at times and RQ absurd, as in real records.
    """
    o2, co2 = shown[:, COLUMN["exhaust_o2"]] / 100, shown[:, COLUMN["exhaust_co2"]] / 100
    in_o2, in_co2 = shown[:, COLUMN["inlet_o2"]] / 100, shown[:, COLUMN["inlet_co2"]] / 100
    in_co2 = np.where(np.isnan(in_co2), AIR_CO2, in_co2)
    gas = shown[:, COLUMN["gas_flow"]] / LITRES_IN_MOLE
    out = gas * (1 - in_o2 - in_co2) / (1 - o2 - co2)
    per_litre = 1e6 / np.maximum(shown[:, COLUMN["volume"]], LEAST_VOLUME)
    otr = shown[:, COLUMN["otr"]] = (gas * in_o2 - out * o2) * per_litre
    ctr = shown[:, COLUMN["ctr"]] = (out * co2 - gas * in_co2) * per_litre
    measurable = np.abs(otr) > NO_TRANSFER
    shown[:, COLUMN["rq"]] = np.where(measurable, ctr / np.where(measurable, otr, 1.0), np.nan)


def noise(channel_key: Hashes, times: Ints) -> Floats:
    """White noise, and slow noise that is smooth over a minute; a row a vessel, or a row an instant of one vessel."""
    keys = channel_key[:, NOISY]
    minute, rest = np.divmod(times.reshape(-1, 1), SLOW_MS)
    part = rest / SLOW_MS
    part = part * part * (3 - 2 * part)
    minutes, place = np.unique(minute, return_inverse=True)
    if len(minutes) > 1:
        numbers = np.append(minutes, minutes[-1] + 1)
        nodes = normal(mixed(keys + (2 + numbers[:, None]).astype(np.uint64)))
        where = np.searchsorted(numbers, minutes)
        after = np.searchsorted(numbers, minutes + 1).clip(0, len(numbers) - 1)
        gaps = numbers[after] != minutes + 1
        following = nodes[after]
        if gaps.any():
            following[gaps] = normal(mixed(keys + (3 + minutes[gaps][:, None]).astype(np.uint64)))
        old, new = nodes[where][place.ravel()], following[place.ravel()]
    else:
        old, new = (normal(mixed(keys + (2 + minutes + i).astype(np.uint64))) for i in (0, 1))
    white = normal(mixed(keys ^ times.reshape(-1, 1).astype(np.uint64)))
    total = np.zeros((max(len(keys), len(times)), len(CHANNELS)))
    total[:, NOISY] = white * WHITE[NOISY] + (old + part * (new - old)) * SLOW[NOISY]
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
    low = np.uint64(0x0000FFFF0000FFFF)
    pairs: Hashes = (bits & low) + ((bits >> np.uint64(16)) & low)
    total: Hashes = (pairs & np.uint64(0xFFFFFFFF)) + (pairs >> np.uint64(32))
    return (total.astype(np.float64) - 131_070.0) / 37_837.0
