"""Scenario files: what they may say, and what is told of mistakes."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from device_sim.incidents import DEFAULTS
from device_sim.scenario import IN_VESSEL, BadScenario, Fault, FaultKind, Trace, find, library, read
from device_sim.scenario_list import lines

GOOD = """\
title: Two things
faults:
  - kind: probe_drift
    at: 10m
    channel: ph
    devices: ["sim-*"]
    expect: {see: pH moves away, alarm: [ph-off-setpoint]}
  - kind: duplicates
    at: "0"
    duration: 30s
    magnitude: 0.5
    expect: {see: copies, trace: [duplicates]}
"""


def fault(**given: object) -> Fault:
    return msgspec.convert({"at": "0", "expect": {"see": "it"}, **given}, Fault)


def test_a_file_is_read() -> None:
    drift, copies = read(GOOD, "x").faults
    assert (drift.kind, drift.begin_ms, drift.end_ms, drift.channel) == ("probe_drift", 600_000, None, "ph")
    assert (copies.begin_ms, copies.end_ms, copies.expect.trace) == (0, 30_000, [Trace.DUPLICATES])
    assert drift.hits(["sim-0001", "br-1", "sim-9"]) == [0, 2]
    assert copies.hits(["sim-0001", "br-1"]) == [0, 1]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("probe_drift", "probe_drfit", "x: line 3: kind: invalid enum value 'probe_drfit'"),
        ("at: 10m", "at: soon", "x: line 4: at: give a whole number and one of ms, s, m, h, d, w, like 10s or 5m"),
        ("channel: ph", "chanel: ph", "x: line 3: object contains unknown field `chanel`"),
        ("    channel: ph\n", "", "x: line 3: probe_drift needs a channel"),
        ("magnitude: 0.5", "magnitude: 2", "x: line 11: the magnitude of duplicates is a share, above 0 and at most 1"),
        ("magnitude: 0.5", "magnitude: much", "x: line 11: magnitude: expected `float | null`, got `str`"),
        ("magnitude: 0.5", "channel: ph", "x: line 11: duplicates has no channel"),
        ("[duplicates]", "[duplicate]", "x: line 12: expect.trace.0: invalid enum value 'duplicate'"),
        ('["sim-*"]', "[]", "x: line 6: the list of devices is empty"),
        ("title: Two things\n", "", "x: line 1: object missing required field `title`"),
        ("see: copies, ", "", "x: line 12: expect: object missing required field `see`"),
        ("faults:\n", "faults: [\n", "x: line 3: the file is not YAML"),
        ("at: 10m", "at: !!int 1", "x: line 4: tags (tag:yaml.org,2002:int) are not allowed"),
    ],
)
def test_a_mistake_is_told_with_its_line(old: str, new: str, said: str) -> None:
    assert old in GOOD
    with pytest.raises(BadScenario) as told:
        read(GOOD.replace(old, new, 1), "x")
    assert str(told.value).startswith(said)


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(BadScenario) as told:
        read(GOOD.replace("10m", "x").replace("0.5", "7"), "x")
    assert [line.split(":")[1] for line in str(told.value).splitlines()] == [" line 4", " line 11"]


def test_the_library_has_each_kind_and_each_says_what_to_expect() -> None:
    faults = [fault for scenario in library() for fault in scenario.faults]
    assert {fault.kind for fault in faults} == set(FaultKind)
    for one in faults:
        assert one.expect.alarm or one.expect.quarantine or one.expect.trace, one.kind
    assert {trace for one in faults for trace in one.expect.trace} == set(Trace)
    assert set(DEFAULTS) <= set(FaultKind)
    assert {one.kind for one in faults if one.expect.alarm} >= IN_VESSEL


def test_a_scenario_is_found_by_name_or_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(GOOD)
    assert find(str(path)).title == "Two things"
    assert find(library()[0].name) == library()[0]
    with pytest.raises(BadScenario, match=r"there is no file and no scenario foam-uot: biogate brings .*foam-out"):
        find("foam-uot")


def test_the_list_says_what_to_expect() -> None:
    assert list(lines(read(GOOD, "x"))) == [
        "x: Two things",
        "  at 10m: probe_drift (ph): pH moves away",
        "    expect alarm ph-off-setpoint",
        "  at 0 for 30s: duplicates (0.5): copies",
        "    expect duplicates",
    ]
