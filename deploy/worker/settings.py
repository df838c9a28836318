"""Settings of the worker, from environment variables `BIOGATE_…`, checked before any I/O."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, PostgresDsn
from pydantic_settings import BaseSettings, SettingsConfigDict

BEATS = 10
"""Beats in a lease."""


class WorkerSettings(BaseSettings):
    """All settings of the worker. The process of a job also has those of the program whose work it does."""

    model_config = SettingsConfigDict(env_prefix="BIOGATE_", frozen=True, extra="ignore")

    database_url: PostgresDsn = Field(description="the database, by a login with the rights of a gateway")
    jobs_dir: Path = Field(
        description="directory of the files of jobs, the same as the API's: on one machine, or on a volume that all of "
        "these programs have"
    )
    jobs_share_bytes: int = Field(
        5 * 2**30, ge=2**20, description="bytes that the files of one organization's jobs may take; beyond, a job fails"
    )
    jobs_free_bytes: int = Field(
        2**30, ge=0, description="bytes that jobs leave free on that disk; a job that would need them fails"
    )
    jobs_files_days: float = Field(7, gt=0, le=366, description="days after which the files of a job are deleted")
    worker_jobs: int = Field(2, ge=1, le=64, description="jobs at a time in this process, each in a process of its own")
    worker_jobs_share: int = Field(
        1, ge=1, le=64, description="jobs of one organization at a time, in all workers together"
    )
    worker_lease_s: float = Field(
        30, ge=1, le=3600, description="seconds without a beat after which a job goes to another worker, or begins anew"
    )
    worker_http_host: str = Field("127.0.0.1", description="host on which /health, /ready and /metrics listen")
    worker_http_port: int = Field(8005, ge=0, le=65535, description="port on which /health, /ready and /metrics listen")
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$", description="least level logged")
