"""The store, in memory and on disk; a kill is a new Store over the files that there are."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from device_sim.frame_store import FrameStore
from device_sim.frames import Packing, SimulatedFrame
from device_sim.segment import CAPACITY, RECORDS

PACKING = Packing(("temperature", "ph"))


def frame(boot: int, seq: int) -> SimulatedFrame:
    return SimulatedFrame(boot, seq, 1_750_000_000_000.0 + seq, [37.0 + seq, 7.0])


def fill(store: FrameStore, boot: int, count: int, first: int = 0) -> None:
    for seq in range(first, first + count):
        store.append(frame(boot, seq))


def take_all(store: FrameStore) -> list[tuple[int, int]]:
    taken = []
    while frames := store.take(50)[0]:
        taken += [(frame.boot, frame.seq) for frame in frames]
    return taken


def files(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.glob("*"))


@pytest.fixture(params=["memory", "disk"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> FrameStore:
    return FrameStore(PACKING, 100_000, tmp_path / "dev" if request.param == "disk" else None)


def test_what_is_read_is_what_was_appended(store: FrameStore) -> None:
    written = [
        SimulatedFrame(3, 0, 1_750_000_000_000.25, [37.01, math.inf], (1, 2)),
        SimulatedFrame(3, 1, 1_750_000_001_000.0, [-0.0, 7.0]),
    ]
    for one in written:
        store.append(one)
    store.release()
    frames, channels = store.take(10)
    assert frames == written
    assert channels == ("temperature", "ph")


def test_held_frames_are_sent_by_the_store_only_once_they_are_released(store: FrameStore) -> None:
    fill(store, 1, 5)
    assert (store.waiting, store.take(10)[0]) == (0, [])
    store.acknowledge(1, 1, 2)
    store.release()
    assert store.waiting == 3
    assert take_all(store) == [(1, 0), (1, 3), (1, 4)]
    assert store.waiting == 0


def test_it_counts_first_acknowledgements(store: FrameStore) -> None:
    fill(store, 1, 5)
    assert store.acknowledge(1, 0, 2) == 3
    assert store.acknowledge(1, 2, 3) == 1
    store.send_again(1, 0, 0)
    assert (store.unacknowledged, store.waiting) == (1, 1)
    assert take_all(store) == [(1, 0)]
    assert store.acknowledge(1, 0, 4) == 1
    assert (store.unacknowledged, store.total) == (0, 5)


def test_frames_of_many_segments_and_boots_are_one_sequence(store: FrameStore) -> None:
    fill(store, 1, CAPACITY + 10)
    fill(store, 2, 3)
    store.release()
    assert take_all(store) == [(1, seq) for seq in range(CAPACITY + 10)] + [(2, 0), (2, 1), (2, 2)]
    assert store.forget(1, CAPACITY) == (CAPACITY + 1, CAPACITY + 1)
    assert (store.oldest(1), store.newest(1), store.oldest(2), store.boots) == (CAPACITY + 1, CAPACITY + 9, 0, {1, 2})
    assert store.forget(1, 1_000_000) == (9, 9)
    assert (store.oldest(1), store.boots, store.total) == (None, {2}, 3)


def test_a_receipt_of_one_boot_covers_no_other(store: FrameStore) -> None:
    fill(store, 1, 5)
    fill(store, 2, 5)
    store.forget(2, 4)
    assert store.total == 5
    assert store.oldest(1) == 0


def test_missing_is_what_is_not_kept(store: FrameStore) -> None:
    fill(store, 1, CAPACITY + 10)
    store.forget(1, 4)
    assert store.missing(1, 5, CAPACITY + 9) == []
    assert store.missing(1, 0, 7) == [(0, 4)]
    assert store.missing(1, 3, CAPACITY + 20) == [(3, 4), (CAPACITY + 10, CAPACITY + 20)]
    assert store.missing(2, 3, 4) == [(3, 4)]


def test_the_oldest_goes_first_when_there_is_no_room(store: FrameStore) -> None:
    fill(store, 1, 2)
    fill(store, 2, 2)
    assert [store.drop_oldest() for _ in range(3)] == [(1, 0), (1, 1), (2, 0)]
    assert (store.total, store.oldest(2)) == (1, 1)


def test_after_a_kill_nothing_is_missing(tmp_path: Path) -> None:
    store = FrameStore(PACKING, 100_000, tmp_path)
    fill(store, 1, CAPACITY + 10)
    store.acknowledge(1, 0, 99)
    store.forget(1, 9)
    store.save()
    store.acknowledge(1, 100, 199)  # after the save: forgotten by the kill
    again = FrameStore(PACKING, 100_000, tmp_path)
    assert (again.total, again.oldest(1), again.unacknowledged) == (CAPACITY, 10, CAPACITY - 90)
    assert take_all(again) == [(1, seq) for seq in range(100, CAPACITY + 10)]
    fill(again, 2, 1)
    assert FrameStore(PACKING, 100_000, tmp_path).boots == {1, 2}


@pytest.mark.parametrize("torn", [1, 20, PACKING.size - 1])
def test_a_torn_record_at_the_end_is_dropped(tmp_path: Path, torn: int) -> None:
    fill(FrameStore(PACKING, 100, tmp_path), 1, 3)
    (path,) = tmp_path.iterdir()
    with path.open("r+b") as file:
        file.truncate(RECORDS + 2 * PACKING.size + torn)
    assert take_all(FrameStore(PACKING, 100, tmp_path)) == [(1, 0), (1, 1)]


@pytest.mark.parametrize("size", [0, 10, 1024, RECORDS])
def test_a_segment_torn_before_its_first_frame_is_removed(tmp_path: Path, size: int) -> None:
    fill(FrameStore(PACKING, 100, tmp_path), 1, 3)
    (path,) = tmp_path.iterdir()
    with path.open("r+b") as file:
        file.truncate(size)
    assert FrameStore(PACKING, 100, tmp_path).total == 0
    assert files(tmp_path) == []


def test_a_last_record_that_is_not_intact_is_dropped_and_one_before_it_is_an_error(tmp_path: Path) -> None:
    fill(FrameStore(PACKING, 100, tmp_path), 1, 3)
    (path,) = tmp_path.iterdir()
    content = bytearray(path.read_bytes())
    content[-10] ^= 1
    path.write_bytes(content)
    assert take_all(FrameStore(PACKING, 100, tmp_path)) == [(1, 0), (1, 1)]
    content[RECORDS + 10] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="damaged record"):
        take_all(FrameStore(PACKING, 100, tmp_path))


def test_a_file_that_is_no_segment_is_refused(tmp_path: Path) -> None:
    (tmp_path / "1-0.frames").write_bytes(b"x" * 10_000)
    with pytest.raises(ValueError, match="holds no frames"):
        FrameStore(PACKING, 100, tmp_path)


def test_segments_are_removed_once_receipts_cover_them(tmp_path: Path) -> None:
    store = FrameStore(PACKING, 100_000, tmp_path)
    fill(store, 1, 2 * CAPACITY + 10)
    assert len(files(tmp_path)) == 3
    store.forget(1, CAPACITY - 1)
    assert len(files(tmp_path)) == 2
    fill(store, 2, 1)
    store.forget(1, 2 * CAPACITY + 9)
    assert files(tmp_path) == ["0000000002-0000000000000000.frames"]
    store.forget(2, 0)
    store.close()
    assert files(tmp_path) == []


def test_frames_of_other_channels_are_read_as_they_were_written(tmp_path: Path) -> None:
    fill(FrameStore(PACKING, 100, tmp_path), 1, 2)
    again = FrameStore(Packing(("stirrer",)), 100, tmp_path)
    again.append(SimulatedFrame(2, 0, 1.0, [5.0]))
    again.release()
    assert again.take(10) == ([frame(1, 0), frame(1, 1)], ("temperature", "ph"))
    assert again.take(10) == ([SimulatedFrame(2, 0, 1.0, [5.0])], ("stirrer",))
