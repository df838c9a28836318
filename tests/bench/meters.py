"""What processes use, from /proc; and what a histogram says."""

from __future__ import annotations

import contextlib
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """User and system time of a process, its living children and those it has waited for; 0 if it is gone."""
    total = 0.0
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total = sum(map(int, fields[11:15])) / TICKS
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        total += sum(cpu_s(int(child)) for child in children)
    return total


def forget_peak(pid: int) -> None:
    """Let the greatest resident memory begin anew."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def peak_mb(pid: int) -> float:
    """The most that was resident since."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


class Cpu:
    """CPU of several processes from now on."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._pids = dict(pids)
        self._before = {name: cpu_s(pid) for name, pid in self._pids.items()}

    def used_s(self) -> dict[str, float]:
        return {name: cpu_s(pid) - self._before[name] for name, pid in self._pids.items()}


def lag_buckets(metrics: str) -> dict[float, float]:
    """Cumulative counts of the gateway's lag by upper bound, in a Prometheus exposition."""
    return buckets("biogate_lag_seconds", metrics)


def buckets(name: str, metrics: str) -> dict[float, float]:
    """Cumulative counts of this histogram, which has no labels, by upper bound."""
    found = re.findall(rf'^{name}_bucket\{{le="([^"]+)"\}} (\S+)$', metrics, re.MULTILINE)
    return {float(bound): float(count) for bound, count in found}


def quantile(q: float, buckets: Mapping[float, float]) -> float:
    """Of cumulative counts by upper bound; inside a bucket as if its observations lay evenly. NaN if there are none."""
    total = max(buckets.values(), default=0)
    below, lower = 0.0, 0.0
    for bound, count in sorted(buckets.items()):
        if total and count >= q * total and count > below:
            share = (q * total - below) / (count - below)
            return lower if math.isinf(bound) else lower + (bound - lower) * share
        below, lower = count, bound
    return math.nan


def difference(before: Mapping[float, float], after: Mapping[float, float]) -> dict[float, float]:
    return {bound: count - before.get(bound, 0) for bound, count in after.items()}
