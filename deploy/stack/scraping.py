"""Renders deploy/prometheus/prometheus.yml with the addresses of a local stack."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from deploy.stack.paths import CHECKOUT

PROMETHEUS = CHECKOUT / "deploy" / "prometheus"
TARGETS = re.compile(r"^([ -]*job_name: (\w+)\n.*?targets: )\[.*?\]", re.MULTILINE | re.DOTALL)
ALERTMANAGER = re.compile(r"^( *alertmanagers:\n.*?targets: )\[.*?\]", re.MULTILINE | re.DOTALL)


def render(urls: Mapping[str, str], rules: Path = PROMETHEUS / "rules") -> str:
    """The configuration with these targets by job. A job without an address has no target; Alertmanager has none."""

    def place(match: re.Match[str]) -> str:
        url = urls.get(match[2])
        return f"{match[1]}[{urlsplit(url).netloc if url else ''}]"

    conf = (PROMETHEUS / "prometheus.yml").read_text()
    conf = ALERTMANAGER.sub(r"\1[]", conf)
    return TARGETS.sub(place, conf).replace("rules/*.yml", f"{rules}/*.yml")
