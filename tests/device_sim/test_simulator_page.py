"""docs/simulator.md is of the code: its table of scenarios, its example, its words."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from deploy.stack.paths import CHECKOUT
from device_sim.scenario import FaultKind, Trace, library, read
from device_sim.scenario_list import expected, when
from tests.device_sim.rules import RULES

PAGE = (CHECKOUT / "docs" / "simulator.md").read_text()


def rows() -> Iterator[str]:
    for scenario in library():
        for fault in scenario.faults:
            size = "" if fault.magnitude is None else f"{fault.magnitude:g}"
            of = f"`{fault.kind}`" + (f" of {fault.channel}" if fault.channel else "")
            promise = f"{fault.expect.see}: {', '.join(expected(fault))}"
            yield f"| {scenario.name} | {of}, {when(fault)} | {size} | {promise} |"


def test_the_table_of_scenarios_is_that_of_the_library() -> None:
    table = re.findall(r"^\| [a-z-]+ \| `.*\|$", PAGE, re.MULTILINE)
    assert table == list(rows()), "\n" + "\n".join(rows())


def test_the_example_is_a_scenario() -> None:
    [example] = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    [fault] = read(example, "page").faults
    assert set(fault.expect.alarm) <= set(RULES)


@pytest.mark.parametrize("word", [*Trace, *(kind for kind in FaultKind)])
def test_the_page_has_each_trace_and_kind(word: str) -> None:
    assert f"`{word}`" in PAGE
