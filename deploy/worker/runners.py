"""Which function does the jobs of which kind. It is imported in the process of the job alone."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

from schema.jobs import JobKind, JobRunner

RUNNERS: Mapping[JobKind, str] = {
    "export": "api.files.export_job:run",
    "import": "gateway.history.job:run",
    "replay": "gateway.quarantine.job:run",
    "report": "api.reports.report_job:run",
}
"""`module:function` by kind. The worker claims no other jobs."""


def runner(kind: JobKind) -> JobRunner:
    module, _, name = RUNNERS[kind].partition(":")
    found: JobRunner = getattr(import_module(module), name)
    return found
