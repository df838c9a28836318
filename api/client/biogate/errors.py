"""The one error that the client raises."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class ClientError(Exception):
    """What was asked for could not be done. It never holds a key.

    `detail` says what to change. `status` is that of the HTTP answer, and `problem` its problem document (RFC 9457):
    `problem["errors"]` names parameters, `problem["bucket"]` a width that fits. Without an answer status is None.
    """

    def __init__(self, detail: str, *, status: int | None = None, problem: Mapping[str, Any] | None = None) -> None:
        super().__init__(detail)
        self.detail, self.status, self.problem = detail, status, dict(problem or {})

    def __str__(self) -> str:
        return self.detail if self.status is None else f"{self.detail} (HTTP status {self.status})"
