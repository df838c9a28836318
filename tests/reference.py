"""docs/reference.md out of the code: `python -m tests.reference > docs/reference.md`."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from typing import Any

from prometheus_client import REGISTRY
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings

import api.metrics
import deploy.worker.metrics
import device_sim.metrics
import gateway.alarms.metrics
import gateway.alarms.notify.metrics
import gateway.canary.metrics
import gateway.evidence.metrics
import gateway.evidence.seal_metrics
import gateway.metrics
import schema.reasons
from api.settings import ApiSettings
from deploy.worker.settings import WorkerSettings
from gateway.canary.settings import CanarySettings
from gateway.settings import Settings as GatewaySettings
from schema.command_line import EXIT_CODES

METRICS: dict[str, tuple[Any, ...]] = {
    "gateway": (gateway.metrics,),
    "API": (api.metrics,),
    "alarms process": (gateway.alarms.metrics, gateway.alarms.notify.metrics),
    "evidence process": (gateway.evidence.metrics, gateway.evidence.seal_metrics),
    "worker": (deploy.worker.metrics,),
    "canary": (gateway.canary.metrics,),
    "simulator": (device_sim.metrics,),
}
"""Where the metrics of each process are."""
"""Of all commands and processes."""


def settings(of: type[BaseSettings]) -> Iterator[str]:
    """A row for each setting."""
    prefix = of.model_config.get("env_prefix", "")
    for name, field in of.model_fields.items():
        assert field.description, f"{name} has no description"
        variable = str(field.validation_alias or f"{prefix}{name}").upper()
        default = "required" if field.default is PydanticUndefined else f"`{field.default}`"
        yield f"| `{variable}` | {default.replace('`None`', '–')} | {field.description} |"


def metrics(of: Any) -> Iterator[str]:
    """A row for each metric family that a module defines."""
    defined = {id(value) for value in vars(of).values()}
    for collector in REGISTRY._collector_to_names:  # the registry does not say it otherwise
        if id(collector) in defined:
            for family in collector.collect():
                name = family.name + {"counter": "_total", "info": "_info"}.get(family.type, "")
                labels = sorted({label for sample in family.samples for label in sample.labels} - {"le"})
                declared = getattr(collector, "_labelnames", tuple(labels))
                yield f"| `{name}` | {family.type} | {', '.join(declared) or '–'} | {family.documentation} |"


def section(part: str) -> Iterator[str]:
    """The table of one process."""
    yield f"\n## Metrics of the {part}\n\n| metric | type | labels | meaning |\n|---|---|---|---|"
    for module in METRICS[part]:
        yield from metrics(module)


def reasons() -> Iterator[str]:
    """A row for each reason: the text under it in the source."""
    (enum,) = ast.parse(inspect.getsource(schema.reasons.Reason)).body
    assert isinstance(enum, ast.ClassDef)
    for name, text in zip(enum.body[::2], enum.body[1::2], strict=True):
        assert isinstance(name, ast.Assign)
        assert isinstance(text, ast.Expr)
        yield f"| `{ast.literal_eval(name.value)}` | {' '.join(ast.literal_eval(text.value).split())} |"


def exit_codes() -> Iterator[str]:
    """A row for each exit code of the command."""
    for code, meaning in EXIT_CODES.items():
        yield f"| {code} | {meaning} |"


def page() -> str:
    """The whole page."""
    parts = [
        "# Reference\n\nMade from the code by `python -m tests.reference > docs/reference.md`; a test says so. "
        "Of metrics, each process also has\nthose of the Prometheus client for Python: `process_…` and `python_…`.\n",
        "## Settings of the gateway\n\n| variable | default | meaning |\n|---|---|---|",
        *settings(GatewaySettings),
        "\n## Settings of the API\n\n| variable | default | meaning |\n|---|---|---|",
        *settings(ApiSettings),
        "\n## Settings of the worker\n\n| variable | default | meaning |\n|---|---|---|",
        *settings(WorkerSettings),
        "\n## Settings of the canary\n\n| variable | default | meaning |\n|---|---|---|",
        *settings(CanarySettings),
        *(line for part in METRICS for line in section(part)),
        "\n## Reasons for quarantine\n\n| reason | meaning |\n|---|---|",
        *reasons(),
        "\n## Exit codes\n\n`biogate` and each process end with one of these codes; standard error says why.\n\n"
        "| code | meaning |\n|---|---|",
        *exit_codes(),
    ]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    print(page(), end="")
