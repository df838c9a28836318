"""All metrics of the process that makes the record evident: `biogate evidence`."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

from gateway.runtime.metric_kinds import OptionalGauge

# -- seals

SEALS = Counter("biogate_seals", "seals made of the frames of a device and an hour")
SEALING_FAILED = Counter("biogate_sealing_failures", "devices, or shares of an organization, that could not be sealed")
SEALED_UNTIL = OptionalGauge(
    "biogate_seals_until_timestamp_seconds", "up to when the hours of all devices are sealed, of the device most behind"
)
SEALS_CHECKED = OptionalGauge("biogate_seals_checked_timestamp_seconds", "when sealed hours were last verified")
SEALS_BROKEN = OptionalGauge("biogate_seals_broken", "faults found when sealed hours were last verified")

# -- clock

CLOCK_SYNCHRONIZED = Gauge("biogate_clock_synchronized", "1 while a time source disciplines the clock of the machine")
CLOCK_OFFSET = OptionalGauge("biogate_clock_offset_seconds", "offset of the clock of the machine from its time source")
CLOCK_ERROR = OptionalGauge("biogate_clock_error_bound_seconds", "how wrong the clock of the machine is at most")
