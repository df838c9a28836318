"""The alert rules: each fires for its fault and not in a healthy plant, and has a page that says what to do."""

from __future__ import annotations

import re
import subprocess
from typing import Any

import pytest

from deploy.stack import scraping
from deploy.stack.paths import CHECKOUT
from schema import reachability
from tests.deploy import rules
from tests.deploy.rules import PROMETHEUS
from tests.prometheus import programs
from tests.reference import METRICS

SECTIONS = ("Meaning", "Impact", "Diagnosis", "Mitigation")
FIRED = re.compile(r'alertname="(\w+)", severity="(\w+)"')


def promtool(*arguments: str) -> None:
    done = subprocess.run(
        [programs() / "promtool", *arguments], cwd=PROMETHEUS, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_configuration_and_rules_are_well_formed() -> None:
    promtool("check", "config", "prometheus.yml")


@pytest.mark.parametrize("file", [file.name for file in rules.TESTS])
def test_alerts_fire_for_what_they_are_made_for_and_not_in_a_healthy_plant(file: str) -> None:
    promtool("test", "rules", f"tests/{file}")


def test_every_alert_has_a_test_in_which_it_fires() -> None:
    fires = set()
    for file in rules.TESTS:
        for test in rules.read(file)["tests"]:
            for expectation in test["promql_expr_test"]:
                assert expectation["exp_samples"], f"{file.name} expects nothing"
                for sample in expectation["exp_samples"]:
                    fires |= set(FIRED.findall(sample["labels"]))
    assert {(alert.name, alert.severity) for alert in rules.alerts()} == fires


def test_the_healthy_plant_has_every_metric_that_an_alert_asks_for() -> None:
    [test] = rules.read(PROMETHEUS / "tests" / "healthy.yml")["tests"]
    there = {entry["series"].partition("{")[0] for entry in test["input_series"]}
    assert rules.used() <= there
    [expectation] = test["promql_expr_test"]
    assert [sample["labels"] for sample in expectation["exp_samples"]] == ['{alertname="Watchdog"}']


def test_every_metric_that_an_alert_asks_for_is_exported() -> None:
    ours = {name for name in rules.used() if name.startswith("biogate_")}
    assert ours
    assert ours <= set().union(*(rules.exported(part) for part in METRICS))


def test_no_two_processes_have_a_metric_of_one_name() -> None:
    seen: set[str] = set()
    for part in METRICS:
        assert not seen & rules.exported(part)
        seen |= rules.exported(part)


def test_few_alerts_get_anybody_up() -> None:
    """Each more is to be weighed: data lost or about to be, nothing stored, nothing seen, or no alarm evaluated."""
    assert len({alert.name for alert in rules.alerts() if alert.severity == "critical"}) <= 30


def test_a_database_that_is_away_is_told_within_a_minute() -> None:
    """The sum of probe, time-out, scrape, evaluation, `for` and the wait of Alertmanager, each at its worst."""
    import yaml

    conf = rules.read(PROMETHEUS / "prometheus.yml")["global"]
    route = yaml.safe_load((PROMETHEUS / "alertmanager.yml").read_text())["route"]
    [rule] = [rule for _, rule in rules.rules() if rule.get("alert") == "BiogateDatabaseAway"]
    waits = (conf["scrape_interval"], conf["evaluation_interval"], rule["for"], route["group_wait"])
    worst = reachability.EVERY_S + reachability.ANSWER_S + sum(int(wait.removesuffix("s")) for wait in waits)
    assert worst <= 60


@pytest.mark.parametrize("alert", rules.alerts(), ids=str)
def test_an_alert_says_what_it_means_and_what_to_do(alert: rules.Alert) -> None:
    assert set(alert.annotations) == {"summary", "description", "runbook_url", "dashboard"}
    assert alert.severity in {"critical", "warning", "none"}
    page, _, anchor = alert.annotations["runbook_url"].partition("#")
    text = (CHECKOUT / page).read_text()
    headings = {heading.lower(): start for heading, start in positions(text)}
    assert anchor in headings, f"{page} has no heading {alert.name}"
    body = text[headings[anchor] :].split("\n## ")[0]
    for section in SECTIONS:
        assert f"**{section}.**" in body, f"{page}#{anchor} does not say {section}"


def test_every_runbook_is_of_an_alert() -> None:
    names = {alert.name for alert in rules.alerts()}
    for page in (CHECKOUT / "docs" / "runbooks").glob("*.md"):
        assert {heading for heading, _ in positions(page.read_text())} <= names, page.name


def test_the_configuration_for_other_addresses_differs_in_nothing_else() -> None:
    import yaml

    given = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    made = yaml.safe_load(scraping.render({job: f"http://127.0.0.1:{n}" for n, job in enumerate(jobs(given), 1)}))
    assert jobs(made) == {job: [f"127.0.0.1:{n}"] for n, job in enumerate(jobs(given), 1)}
    for conf in (given, made):
        conf.pop("rule_files")
        for scrape in conf["scrape_configs"]:
            scrape["static_configs"][0].pop("targets")
        conf["alerting"]["alertmanagers"][0]["static_configs"][0].pop("targets")
    assert made == given


def jobs(conf: dict[str, Any]) -> dict[str, list[str]]:
    return {scrape["job_name"]: scrape["static_configs"][0]["targets"] for scrape in conf["scrape_configs"]}


def positions(text: str) -> list[tuple[str, int]]:
    return [(match[1], match.end()) for match in re.finditer(r"^## (\w+)$", text, re.MULTILINE)]
