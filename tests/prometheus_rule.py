"""The rules of deploy/prometheus as an object for the Prometheus operator:

python -m tests.prometheus_rule > deploy/kubernetes/monitoring/rules.yaml
"""

from __future__ import annotations

import sys
from io import StringIO

import yaml

from deploy.stack.paths import CHECKOUT
from tests.deploy.rules import FILES, read

FILE = CHECKOUT / "deploy" / "kubernetes" / "monitoring" / "rules.yaml"
HEAD = "# Made from deploy/prometheus/rules by `python -m tests.prometheus_rule`; do not change it.\n"


def rendered() -> str:
    """The content of FILE."""
    made = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "biogate", "namespace": "biogate"},
        "spec": {"groups": [group for file in FILES for group in read(file)["groups"]]},
    }
    out = StringIO()
    yaml.safe_dump(made, out, sort_keys=False, width=1000, allow_unicode=True)
    return HEAD + out.getvalue()


if __name__ == "__main__":
    sys.stdout.write(rendered())
