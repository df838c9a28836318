"""Around every request: one log line, the metrics, and a problem document for errors nobody expected."""

from __future__ import annotations

import time
from typing import Any

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import metrics
from api.problems import INTERNAL, ApiError, document

log = structlog.get_logger("api")
QUIET = frozenset({"/health", "/ready", "/metrics"})


class Observer:
    """ASGI middleware, outermost. An answer that breaks off is left unfinished, so that the client sees it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status, finished, begun = 0, False, time.perf_counter()

        async def watch(message: Message) -> None:
            nonlocal status, finished
            if message["type"] == "http.response.start":
                status = int(message["status"])
            elif message["type"] == "http.response.body" and not message.get("more_body", False):
                finished = True
            await send(message)

        error: BaseException | None = None
        try:
            await self.app(scope, receive, watch)
        except Exception as unexpected:
            error = unexpected
            if status:
                raise
            answer = document(scope["path"], ApiError(INTERNAL))
            await answer(scope, receive, watch)
        finally:
            result = f"{status // 100}xx" if finished else "aborted"
            self._record(scope, result, status, time.perf_counter() - begun, error)

    def _record(self, scope: Scope, result: str, status: int, seconds: float, error: BaseException | None) -> None:
        route = getattr(scope.get("route"), "path", "") or "other"
        metrics.answered(route, scope["method"], result, seconds)
        facts: dict[str, Any] = {"method": scope["method"], "path": scope["path"], "route": route}
        facts |= {"status": status, "milliseconds": round(seconds * 1000, 1)}
        if error is not None:
            log.error("failed", **facts, exc_info=error)
        elif result == "aborted":
            log.warning("aborted", **facts)
        elif route in QUIET:
            log.debug("answered", **facts)
        else:
            log.info("answered", **facts)
