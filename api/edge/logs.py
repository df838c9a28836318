"""Writes the log: JSON lines on standard error, for our own events and those of the libraries."""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import msgspec
import structlog

from api.trace import CURRENT


class AccessLog:
    """Writes the line of each request in the form of all others: structlog takes ten times as long."""

    def __init__(self, level: str) -> None:
        self.wanted = logging.getLevelNamesMapping()[level.upper()] <= logging.INFO

    def write(self, event: str, facts: dict[str, Any]) -> None:
        line = facts | {"event": event, "logger": "api", "level": "info", "timestamp": datetime.now(UTC)}
        with suppress(OSError, ValueError):  # nobody reads it any more: no reason not to answer
            out = sys.stderr.buffer
            out.write(msgspec.json.encode(line) + b"\n")
            out.flush()


def _of_request(_: object, __: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Add to a line the id of the request that is being answered, if there is one."""
    trace = CURRENT.get()
    if trace is not None:
        line.setdefault("request_id", trace.request_id)
    return line


def configure(level: str) -> None:
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        _of_request,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(ensure_ascii=False),
            ],
        )
    )
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
