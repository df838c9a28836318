"""deploy/prometheus as data."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from deploy.stack.paths import CHECKOUT
from tests.reference import METRICS, metrics

PROMETHEUS = CHECKOUT / "deploy" / "prometheus"
FILES = sorted((PROMETHEUS / "rules").glob("*.yml"))
TESTS = sorted((PROMETHEUS / "tests").glob("*.yml"))
NAME = re.compile(r"\b(?:biogate|process)_[a-z0-9_]+\b")
SUFFIXES = {"histogram": ("_bucket", "_count", "_sum")}


@dataclass(frozen=True)
class Alert:
    name: str
    severity: str
    expr: str
    annotations: dict[str, str]
    labels: dict[str, str]
    file: Path

    def __str__(self) -> str:
        return f"{self.name} ({self.severity})"


def read(file: Path) -> Any:
    return yaml.safe_load(file.read_text())


def rules() -> Iterator[tuple[Path, dict[str, Any]]]:
    for file in FILES:
        for group in read(file)["groups"]:
            for rule in group["rules"]:
                yield file, rule


def alerts() -> list[Alert]:
    return [
        Alert(rule["alert"], rule["labels"]["severity"], rule["expr"], rule["annotations"], rule["labels"], file)
        for file, rule in rules()
        if "alert" in rule
    ]


def recorded() -> set[str]:
    return {rule["record"] for _, rule in rules() if "record" in rule}


def used() -> set[str]:
    """Metrics that the rules ask for, of ours and of the Prometheus client."""
    return {name for _, rule in rules() for name in NAME.findall(re.sub(r"\w+:[\w:]+", "", rule["expr"]))}


def exported(part: str) -> set[str]:
    """Names under which the metrics of a process are scraped."""
    names = set()
    for module in METRICS[part]:
        for row in metrics(module):
            name, kind = (cell.strip(" `") for cell in row.split("|")[1:3])
            names |= {name + suffix for suffix in SUFFIXES.get(kind, ("",))}
    return names
