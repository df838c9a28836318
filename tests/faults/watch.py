"""Looks at the gateways while they are tormented: memory, the account at every look, what was asked for again."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.faults.gateways import Gateway

LOOK_S = 0.5
RECEIVED = "biogate_intake_received_total"
STATES = ("committed_total", "duplicate_total", "quarantined_total", "discarded_total", "in_flight")
COUNTERS = ("biogate_backfill_requests_total", "biogate_lost_frames_total", "biogate_receipts_total")


class Watch:
    """A thread beside the harness. Processes are told apart by their ids: one that is started again counts from 0."""

    def __init__(self, gateways: Sequence[Gateway]) -> None:
        self._gateways = gateways
        self.memory_mb = 0.0
        """The greatest resident memory of any gateway process so far."""
        self.broken_accounts: list[str] = []
        """What was seen that contradicts guarantee 2; it must stay empty."""
        self.looks = 0
        self._seen: dict[int, dict[str, float]] = {}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end.set()
        self._thread.join(10)

    def total(self, name: str) -> int:
        """The sum over all processes of what each last said of a counter."""
        return int(
            sum(
                value
                for counters in list(self._seen.values())
                for metric, value in list(counters.items())
                if metric.partition("{")[0] == name
            )
        )

    def now(self, name: str) -> float:
        """A gauge, over the gateways that run."""
        return max((gateway.metrics().get(name, 0.0) for gateway in self._gateways if gateway.running), default=0.0)

    def _run(self) -> None:
        while not self._end.wait(LOOK_S):
            for gateway in self._gateways:
                if gateway.running:
                    self.look(gateway)

    def look(self, gateway: Gateway) -> None:
        pid = gateway.child.pid
        self.memory_mb = max(self.memory_mb, peak_mb(pid))
        if is_stopped(pid):
            return  # it would not answer
        with contextlib.suppress(OSError, ValueError):  # it may be killed at this very moment
            metrics = gateway.metrics()
            if metrics:
                self._seen[pid] = {name: value for name, value in metrics.items() if name.partition("{")[0] in COUNTERS}
                self._check(metrics)

    def _check(self, metrics: dict[str, float]) -> None:
        self.looks += 1
        for name, received in metrics.items():
            if not name.startswith(RECEIVED):
                continue
            label = name.removeprefix(RECEIVED)
            parts = {state: metrics[f"biogate_intake_{state}{label}"] for state in STATES}
            if received != sum(parts.values()):
                self.broken_accounts.append(f"{label}: received {received:g}, but {parts}")


def peak_mb(pid: int) -> float:
    """The most that a process ever had resident; 0 if it is gone."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    for line in text.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


def is_stopped(pid: int) -> bool:
    """Whether a process was frozen by SIGSTOP."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    except OSError:
        return True
