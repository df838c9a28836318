"""What was counted in this process meanwhile: all counters and histograms of ours, by name and labels."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import REGISTRY

COUNTED = ("_total", "_count")


def counted() -> dict[str, float]:
    """`name` or `name{labels}` → value of each counter, and the number of observations of each histogram."""
    found: dict[str, float] = {}
    for family in REGISTRY.collect():
        for name, labels, value, *_ in family.samples:
            if name.startswith("biogate_") and name.endswith(COUNTED):
                said = ",".join(f"{key}={label}" for key, label in sorted(labels.items()))
                found[f"{name}{{{said}}}" if said else name] = value
    return found


def more(before: Mapping[str, float], *names: str) -> dict[str, float]:
    """What was counted since, of metrics whose names begin so."""
    return {
        name: value - before.get(name, 0.0)
        for name, value in counted().items()
        if name.startswith(names) and value != before.get(name, 0.0)
    }
