"""The metrics of seals, of the process that makes and verifies them."""

from __future__ import annotations

from prometheus_client import Counter

from gateway.runtime.metric_kinds import OptionalGauge

MADE = Counter("biogate_seals_made", "seals made, each of the frames of a device and an hour")
FAILED = Counter(
    "biogate_seals_failed", "times that the hours of a device, or those of an organization, were not sealed"
)
SEALED_UNTIL = OptionalGauge(
    "biogate_seals_until_timestamp_seconds", "up to when hours are sealed, of the device that is most behind"
)
VERIFIED_AT = OptionalGauge("biogate_seals_verified_timestamp_seconds", "when sealed hours were last verified")
FAULTS = OptionalGauge("biogate_seals_faults", "what does not hold of the hours that were last verified")
