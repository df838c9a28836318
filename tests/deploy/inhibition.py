"""Which alerts Alertmanager inhibits, by deploy/prometheus/alertmanager.yml."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import yaml

from tests.deploy.rules import PROMETHEUS

Labels = Mapping[str, str]
MATCHER = re.compile(r'(\w+) (=|!=|=~) "(.*)"')
RULES = yaml.safe_load((PROMETHEUS / "alertmanager.yml").read_text())["inhibit_rules"]


def inhibited(firing: Sequence[Labels]) -> list[bool]:
    """Whether each of these is inhibited by another; two that are both source and target of a rule do not."""
    return [any(_inhibits(source, target) for source in firing if source != target) for target in firing]


def _inhibits(source: Labels, target: Labels) -> bool:
    return any(
        _fits(source, rule["source_matchers"])
        and _fits(target, rule["target_matchers"])
        and not (_fits(source, rule["target_matchers"]) and _fits(target, rule["source_matchers"]))
        and all(source.get(label, "") == target.get(label, "") for label in rule.get("equal", ()))
        for rule in RULES
    )


def _fits(labels: Labels, matchers: Sequence[str]) -> bool:
    """As Alertmanager: a label that is missing is empty, and a pattern fits the whole value."""
    for matcher in matchers:
        match = MATCHER.fullmatch(matcher)
        assert match is not None, matcher
        value = labels.get(match[1], "")
        if match[2] == "=~":
            fits = re.fullmatch(match[3], value) is not None
        else:
            fits = (value == match[3]) is (match[2] == "=")
        if not fits:
            return False
    return True
