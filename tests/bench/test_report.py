"""Figures, their comparison, and the pages made of them."""

from __future__ import annotations

import math
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.bench import report
from tests.bench.__main__ import ALL, BASELINE, PAGE, PLOT
from tests.bench.figures import Figure, Findings, compare, figure, quotient
from tests.bench.meters import difference, lag_buckets, quantile


def findings(*figures: Figure) -> Findings:
    rates: dict[str, dict[str, list[float]]] = {
        "500 devices": {"gateway": [38000.0, 40000.0], "mosquitto_sub": [36000.0]},
        "<1 device>": {"gateway": []},
    }
    return Findings("quick", "2 cores", list(figures), {"B8": "lost | a frame"}, rates, {"gateway": 10.0})


def test_a_quotient_is_of_medians_and_shows_each_pair() -> None:
    found = quotient("B1", "", [2.0, 4.0, 9.0], [2.0, 2.0, 3.0], 1.5)
    assert found.values == (1.0, 2.0, 3.0)
    assert found.value == 2.0
    assert found.verdict == "met"


@pytest.mark.parametrize(
    ("value", "at_least", "verdict"),
    [(1.0, True, "met"), (0.9, True, "above the floor"), (0.7, True, "missed"), (0.7, False, "met")],
)
def test_verdicts(value: float, at_least: bool, verdict: str) -> None:
    assert figure("B1", "", "×", [value], 1.0, at_least=at_least, floor=0.8 if at_least else None).verdict == verdict


def test_only_what_is_clearly_worse_is_told_and_worse_depends_on_the_figure() -> None:
    before = findings(
        figure("B1", "rate", "×", [1.0], 1.0),
        figure("B3a", "CPU", "µs", [10.0], 12, at_least=False),
        figure("B6", "memory", "MB", [100.0], 100, at_least=False),
    )
    now = findings(
        figure("B1", "rate", "×", [0.8], 1.0),
        figure("B3a", "CPU", "µs", [11.0], 12, at_least=False),
        figure("B6", "memory", "MB", [120.0], 100, at_least=False),
        figure("B12", "new", "s", [9.0], 1, at_least=False),
    )
    assert [sentence.split()[0] for sentence in compare(now, before)] == ["B1", "B6"]
    assert "20% worse" in compare(now, before)[0]


def test_findings_survive_their_file(tmp_path: Path) -> None:
    written = findings(figure("B1", "rate", "×", [1.23456, 2.0], 1.0, floor=0.8, note="µ"))
    written.write(tmp_path / "deep" / "file.json")
    read = Findings.read(tmp_path / "deep" / "file.json")
    assert read.figures[0].values == (1.235, 2.0)
    assert read.rates == written.rates
    assert read.failures == written.failures


def test_tables_are_in_order_and_tell_failures() -> None:
    several = findings(*(figure(name, "what", "×", [1.0], 1.0) for name in ("B10", "B2", "B11b", "B11a")))
    lines = report.table(several).splitlines()[1:]
    assert [line.split()[0] for line in lines] == ["B2", "B10", "B11a", "B11b", "B8"]
    assert "lost | a frame" in lines[-1]


def test_a_page_keeps_what_is_written_by_hand() -> None:
    page = f"# Title\n\n{report.BEGIN}\nold\n{report.END}\n\nBy hand.\n"
    made = report.with_part(page, findings(figure("B1", "rate", "×", [1.0], 1.0)))
    assert made.startswith("# Title\n")
    assert made.endswith("By hand.\n")
    assert "old" not in made
    assert "| B1 | rate | ≥ 1 × | 1 | 1 × | 1 | met |  |" in made
    assert report.with_part(made, findings(figure("B1", "rate", "×", [1.0], 1.0))) == made


def test_a_plot_has_a_dot_for_each_run_and_escapes_names() -> None:
    tree = ElementTree.fromstring(report.plot(findings().rates))
    circles = tree.findall("{http://www.w3.org/2000/svg}circle")
    assert len(circles) == 3 + 2  # runs, and the legend
    assert any(text.text == "<1 device>" for text in tree.iter("{http://www.w3.org/2000/svg}text"))


def test_quantiles_of_a_histogram_lie_inside_its_buckets() -> None:
    exposition = "".join(f'biogate_lag_seconds_bucket{{le="{bound}"}} 5.0\n' for bound in ("0.1", "0.2", "+Inf"))
    before = lag_buckets(exposition)
    after = {0.05: 0.0, 0.1: 15.0, 0.2: 25.0, math.inf: 25.0}
    since = difference(before, after)
    assert since == {0.05: 0, 0.1: 10, 0.2: 20, math.inf: 20}
    assert quantile(0.5, since) == pytest.approx(0.1)
    assert quantile(0.75, since) == pytest.approx(0.15)
    assert math.isnan(quantile(0.5, {0.1: 0.0}))
    assert quantile(0.99, {0.1: 1.0, math.inf: 100.0}) == 0.1


@pytest.mark.skipif(not BASELINE.exists(), reason="no baseline is recorded yet")
def test_page_and_plot_are_those_of_the_baseline() -> None:
    recorded = Findings.read(BASELINE)
    assert PAGE.read_text() == report.with_part(PAGE.read_text(), recorded)
    assert PLOT.read_text() == report.plot(recorded.rates)
    measured = {found.name.rstrip("abcd") for found in recorded.figures}
    later = {
        "B13",
        "B14",
        "B20",
        "B21",
        "B30",
        "B31",
        "B40",
        "B50",
    }  # B13 needs wrk, which is not everywhere; the others are newer than the baseline
    assert measured | later == set(ALL)
