"""All metrics of the worker."""

from __future__ import annotations

from typing import get_args

from prometheus_client import Counter, Gauge

from gateway.runtime.metric_kinds import SECONDS, BulkHistogram, OptionalGauge, build_info, show_zeros
from schema.jobs import JobKind

KINDS = get_args(JobKind)
ENDINGS = ("ended", "crashed", "stopped")

DATABASE_REACHABLE = OptionalGauge(
    "biogate_worker_database_reachable", "1 if the database answered this process within 2 s, 0 if not; asked every 2 s"
)
RUNNING = Gauge("biogate_worker_jobs_running", "jobs that run in this worker", ["kind"])
ENDED = Counter(
    "biogate_worker_processes",
    "processes of jobs that have ended: ended (the job has, however), crashed, or stopped with the worker",
    ["kind", "how"],
)
QUEUED = OptionalGauge("biogate_jobs_queued", "jobs of all organizations that wait for a worker", ["kind"])
WAIT = OptionalGauge("biogate_jobs_wait_seconds", "how long the oldest of the jobs that wait has waited", ["kind"])
FILE_BYTES = OptionalGauge("biogate_jobs_file_bytes", "bytes of the files of jobs of all organizations", ["kind"])
FREE_BYTES = OptionalGauge("biogate_jobs_free_bytes", "bytes that are free on the disk of the files of jobs")
DELETED = Counter("biogate_worker_files_deleted", "directories of jobs that were deleted")
DEFECTS = Counter("biogate_worker_defects", "times a part of the process failed by a defect and began again", ["what"])
EVENT_LOOP_LAG = BulkHistogram("biogate_worker_event_loop_lag_seconds", "how late the event loop runs a task", SECONDS)
BUILD = build_info("biogate_worker_build", "version of the worker")

show_zeros(KINDS, RUNNING)
for kind in KINDS:
    for how in ENDINGS:
        ENDED.labels(kind, how)
