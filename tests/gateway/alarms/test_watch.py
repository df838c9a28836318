"""What a device remembers when its rules change, without a database."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from gateway.alarms.coverage import StoredRule, WatchedDevice
from gateway.alarms.watch import DeviceWatch
from tests.schema.alarms.lines import HIGH, T0, limit, rule

DEVICE = WatchedDevice(1, "r1", 1, frozenset())


def stored(rule_id: int, name: str, version: int = 1, **more: Any) -> StoredRule:
    return StoredRule(rule_id, 1, version, rule(limit(), name, on_delay=10, **more))


def feed(watch: DeviceWatch, seconds: float, value: float = HIGH) -> set[int]:
    """A frame of x; the ids of the rules that have made a transition since the last one."""
    at = datetime.fromtimestamp(T0 + seconds, UTC)
    row = {"layout_id": 1, "time": at, "received_at": at, "boot": None, "seq": None, "values": [value], "quality": None}
    watch.frame(row, ["x"])
    made = {one.rule_id for one in watch.made}
    watch.stored()
    return made


def test_a_changed_rule_counts_its_delay_anew_and_the_others_go_on() -> None:
    watch = DeviceWatch(DEVICE)
    watch.begin(DEVICE, [stored(1, "a"), stored(2, "b")], T0)
    assert [feed(watch, seconds) for seconds in (0, 8)] == [set(), set()]
    watch.change(DEVICE, [stored(1, "a"), stored(2, "b", version=2)], T0 + 9)
    assert [feed(watch, seconds) for seconds in (9, 10, 18, 19)] == [set(), {1}, set(), {2}]


def test_a_rule_made_anew_under_an_old_name_takes_nothing_over() -> None:
    watch = DeviceWatch(DEVICE)
    watch.begin(DEVICE, [stored(1, "a")], T0)
    assert [feed(watch, seconds) for seconds in (0, 8)] == [set(), set()]
    watch.change(DEVICE, [stored(2, "a")], T0 + 9)
    assert [feed(watch, seconds) for seconds in (9, 10, 19)] == [set(), set(), {2}]


def test_which_notes_of_late_frames_were_read_outlives_a_restart() -> None:
    watch = DeviceWatch(DEVICE)
    watch.begin(DEVICE, [stored(1, "a")], T0)
    watch.late_id = 7
    again = DeviceWatch(DEVICE, watch.memory())
    again.begin(DEVICE, [stored(1, "a")], T0)
    assert again.late_id == 7
    assert again.memory() == watch.memory()
