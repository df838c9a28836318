"""A cause inhibits what follows from it, and nothing else."""

from __future__ import annotations

import pytest

from tests.deploy import rules
from tests.deploy.inhibition import inhibited
from tests.deploy.rules import Alert

ALERTS = [alert for alert in rules.alerts() if alert.severity != "none"]
PAGES = [alert for alert in ALERTS if alert.severity == "critical"]
CAUSES = {alert.labels["cause"]: alert for alert in ALERTS if "cause" in alert.labels}
[ECHO] = [alert for alert in rules.alerts() if "echo" in alert.labels]


def labels(alert: Alert, **more: str) -> dict[str, str]:
    return {"alertname": alert.name, **alert.labels, **more}


def test_without_a_cause_nothing_is_inhibited() -> None:
    assert not any(inhibited([labels(alert) for alert in PAGES if "cause" not in alert.labels]))


@pytest.mark.parametrize("cell", [{}, {"cell": "main"}], ids=["no cell", "its cell"])
@pytest.mark.parametrize("cause", CAUSES)
def test_a_cause_inhibits_what_follows_from_it_and_nothing_else(cause: str, cell: dict[str, str]) -> None:
    source = labels(CAUSES[cause], cell="main")
    for alert in ALERTS:
        if alert.name != CAUSES[cause].name:
            follows = cause in alert.labels.get("follows", "").split("/")
            assert inhibited([source, labels(alert, **cell)])[1] is follows, alert


def test_an_echo_is_inhibited_after_its_cause_and_nothing_else() -> None:
    for alert in ALERTS:
        echoes = alert.labels.get("echoes") == ECHO.labels["echo"]
        assert inhibited([labels(ECHO), labels(alert)]) == [False, echoes], alert


@pytest.mark.parametrize("cause", ["gateway", "broker"])
def test_a_cause_in_one_cell_inhibits_nothing_of_another(cause: str) -> None:
    for alert in ALERTS:
        if alert.name != CAUSES[cause].name:
            assert not inhibited([labels(CAUSES[cause], cell="north"), labels(alert, cell="south")])[1]


def test_a_warning_is_not_told_beside_the_same_alert_as_critical() -> None:
    both = [alert for alert in ALERTS if alert.name == "BiogateApiErrors"]
    assert inhibited([labels(alert) for alert in both]) == [alert.severity == "warning" for alert in both]


def test_what_an_alert_follows_from_is_the_cause_of_another() -> None:
    followed = {one for alert in ALERTS for one in alert.labels.get("follows", "").split("/") if one}
    assert followed == set(CAUSES)
    assert {alert.labels["echoes"] for alert in ALERTS if "echoes" in alert.labels} == {ECHO.labels["echo"]}
