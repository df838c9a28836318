"""The simulated devices of a run: their process, and the journal in which they wrote down what they produced."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deploy.stack.errors import tail
from deploy.stack.paths import Paths
from deploy.stack.service import Module
from device_sim import journal
from tests.faults.verify import Key, Produced, expected_quality

PREFIX = "sim-"
DRAIN_S = 20
RECEIPTED_S = 180
"""How long devices wait, when they have produced everything, for the receipts of all of it."""


@dataclass(frozen=True)
class Load:
    devices: int = 50
    rate: float = 20.0
    """Frames a second and device."""
    seed: int = 1

    @property
    def frames_s(self) -> float:
        return self.devices * self.rate

    @property
    def names(self) -> list[str]:
        return [f"{PREFIX}{number:04}" for number in range(1, self.devices + 1)]


class Simulator:
    """`python -m device_sim` with a store and a journal under `directory`; may be killed and started again."""

    def __init__(
        self, paths: Paths, directory: Path, mqtt_url: str, load: Load, faults: Sequence[str], patience_s: float
    ) -> None:
        self.load, self.journal = load, directory / "journal"
        arguments = [
            "device_sim", "--devices", str(load.devices), "--rate", str(load.rate), "--seed", str(load.seed),
            "--prefix", PREFIX, "--state", str(directory / "state"), "--journal", str(self.journal),
            "--mqtt-url", mqtt_url, "--report-every", "0.2", "--max-backoff", "2",
            "--deadline", str(DRAIN_S), "--until-receipted", str(patience_s), *faults,
        ]  # fmt: skip
        self.module = Module(
            paths, "simulator", arguments, environment={**os.environ, "PYTHONUNBUFFERED": "1"},
            ready=lambda: bool(self.summary()), deadline_s=DRAIN_S + patience_s + 15,
        )  # fmt: skip
        self._earlier = 0

    def start(self) -> None:
        self.module.start()

    def kill(self) -> None:
        """All devices lose their power."""
        self.module.kill()
        self.module.process.wait(10)
        self._earlier = len(read(self.journal, self.load))

    def finish(self) -> dict[str, object]:
        """Produce no more, wait until everything is receipted, leave; the last summary."""
        self.module.stop()
        return self.summary()

    @property
    def ending(self) -> str:
        return self.module.process.ending

    @property
    def log(self) -> Path:
        return self.module.log

    def summary(self) -> dict[str, object]:
        """The newest; empty if there is none yet."""
        for line in reversed(tail(self.log, 50)):
            try:
                summary = json.loads(line)
            except ValueError:
                continue
            if isinstance(summary, dict):
                return summary
        return {}

    def produced(self) -> int:
        """Frames so far, as of a moment ago."""
        said = self.summary().get("produced", 0)
        assert isinstance(said, int)
        return self._earlier + said


def read(directory: Path, load: Load) -> Produced:
    """The whole journal of a run, as arrays."""
    position = {name: n for n, name in enumerate(load.names)}
    device, boot, seq, time_us = [], [], [], []
    frames: list[journal.Produced] = []
    lost: dict[Key, str] = {}
    sent: dict[str, tuple[str, ...]] = {}
    for record in journal.read(directory):
        match record:
            case journal.Produced():
                assert sent.setdefault(record.device, tuple(record.values)) == tuple(record.values), record.device
                device.append(position[record.device])
                boot.append(record.boot)
                seq.append(record.seq)
                time_us.append(round(record.t_ms * 1000))
                frames.append(record)
            case journal.Lost():
                for each in range(record.first, record.last + 1):
                    lost[record.device, record.boot, each] = "its store was full"
    channels = tuple(dict.fromkeys(name for names in sent.values() for name in names))
    values = np.full((len(frames), len(channels)), np.nan)
    said = np.zeros(values.shape, dtype=np.int16)
    for n, frame in enumerate(frames):
        for name, value in frame.values.items():
            values[n, channels.index(name)] = np.nan if value is None else value
        if frame.bad is not None:
            said[n, channels.index(frame.bad[0])] = frame.bad[1]
    return Produced(
        channels,
        load.names,
        np.array(device, dtype=np.int64),
        np.array(boot, dtype=np.int64),
        np.array(seq, dtype=np.int64),
        np.array(time_us, dtype=np.int64),
        values,
        expected_quality(values, said),
        sent,
        lost,
    )
