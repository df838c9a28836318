"""The journal, also of runs that were killed."""

from __future__ import annotations

from pathlib import Path

import pytest

from device_sim.frames import Packing, SimulatedFrame
from device_sim.journal import Journal, Lost, Produced, Stepped, read
from tests.device_sim.line import NOW, Bench

CHANNELS = ("temperature", "ph")
PACKING = Packing(CHANNELS)
NAN = float("nan")


def record(boot: int, seq: int) -> bytes:
    return PACKING.pack(SimulatedFrame(boot, seq, NOW + seq, [37.0, NAN], (1, 2)))


def produced(device: str, boot: int, seq: int) -> Produced:
    return Produced(device, boot, seq, NOW + seq, {"temperature": 37.0, "ph": None}, ("ph", 2))


def write(directory: Path, *seqs: int, boot: int = 1) -> None:
    journal = Journal(directory, CHANNELS, ["a", "b"])
    for seq in seqs:
        journal.produced(0, record(boot, seq))
    journal.close()


def test_what_is_read_is_what_was_said(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "new", CHANNELS, ["a", "b"])
    journal.produced(0, record(1, 0))
    journal.produced(1, record(9, 0))
    journal.stepped(1, 9, 1, -2000)
    journal.lost(0, 1, 0, 0)
    journal.close()
    assert list(read(tmp_path / "new")) == [
        produced("a", 1, 0),
        produced("b", 9, 0),
        Stepped("b", 9, 1, -2000),
        Lost("a", 1, 0, 0),
    ]


def test_runs_follow_each_other_and_a_frame_journalled_twice_comes_once(tmp_path: Path) -> None:
    write(tmp_path, 0, 1, 2)
    write(tmp_path, 2)
    write(tmp_path, 0, boot=2)
    assert list(read(tmp_path)) == [produced("a", 1, 0), produced("a", 1, 1), produced("a", 1, 2), produced("a", 2, 0)]


def test_the_torn_end_of_a_killed_run_is_left_out(tmp_path: Path) -> None:
    write(tmp_path, 0, 1)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        assert list(read(tmp_path)) in ([], [produced("a", 1, 0)])


def test_damage_elsewhere_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, 0, 1)
    (path,) = tmp_path.iterdir()
    content = bytearray(path.read_bytes())
    content[-80] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is damaged"):
        list(read(tmp_path))


def test_a_device_journals_what_it_produces_loses_and_how_its_clock_is_wrong(tmp_path: Path) -> None:
    journal = Journal(tmp_path, CHANNELS, ["dev"])
    dev = Bench.with_device(keep=2, journal=journal)
    dev.produce(2)
    dev.device.step_clock(3000)
    dev.produce(1)
    journal.close()
    assert list(read(tmp_path)) == [
        Produced("dev", 7, 0, NOW, {"temperature": 37.0, "ph": 7.0}, None),
        Produced("dev", 7, 1, NOW + 1, {"temperature": 38.0, "ph": 7.0}, None),
        Stepped("dev", 7, 2, 3000),
        Lost("dev", 7, 0, 0),
        Produced("dev", 7, 2, NOW + 3002, {"temperature": 39.0, "ph": 7.0}, None),
    ]
