"""Says which alarm of rules.yaml a process engineer expects of each disturbance."""

from __future__ import annotations

from importlib import resources
from typing import NamedTuple

from device_sim.process.organism import PhaseWord
from device_sim.process.tweaks import Disturbance


class ExpectedAlarm(NamedTuple):
    """A disturbance of E. coli in a phase, the rules that it raises, and within how many minutes."""

    disturbance: Disturbance
    phase: PhaseWord
    rules: tuple[str, ...]
    minutes: float


EXPECTED = (
    ExpectedAlarm(Disturbance("stirrer_stall"), "exponential feed", ("stirrer-stopped", "oxygen-below-setpoint"), 5),
    ExpectedAlarm(Disturbance("gas_loss"), "exponential feed", ("gas-lost", "oxygen-below-setpoint"), 5),
    ExpectedAlarm(Disturbance("foam_out"), "exponential feed", ("foam-high", "pressure-high"), 20),
    ExpectedAlarm(Disturbance("feed_blocked"), "constant feed", ("feed-without-breath",), 60),
    ExpectedAlarm(Disturbance("overfeed", 3.0), "exponential feed", ("more-breath-than-feed",), 60),
    ExpectedAlarm(Disturbance("contamination", 0.4), "setup", ("breath-before-inoculation",), 50),
    ExpectedAlarm(
        Disturbance("power_cut"), "exponential feed", ("stirrer-stopped", "gas-lost", "temperature-off-setpoint"), 30
    ),
    ExpectedAlarm(Disturbance("probe_drift", 0.6, "ph"), "constant feed", ("acid-to-a-growing-culture",), 120),
    ExpectedAlarm(Disturbance("probe_freeze", channel="temperature"), "batch", ("temperature-frozen",), 20),
    ExpectedAlarm(Disturbance("probe_freeze", channel="ph"), "batch", ("ph-frozen",), 20),
    ExpectedAlarm(Disturbance("probe_freeze", channel="dissolved_oxygen"), "batch", ("oxygen-frozen",), 20),
    ExpectedAlarm(Disturbance("probe_failure", channel="ph"), "batch", ("ph-bad",), 5),
    ExpectedAlarm(
        Disturbance("probe_fouling", 10.0, "dissolved_oxygen"), "exponential feed", ("oxygen-below-setpoint",), 10
    ),
)


def rules() -> str:
    """Return the rules as YAML, as `POST /api/v1/alarm-rules.yaml` takes them."""
    return resources.files("device_sim.process").joinpath("rules.yaml").read_text()
