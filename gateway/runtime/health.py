"""The routes /health, /ready and /metrics, which every process serves over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

FindTroubles = Callable[[], Awaitable[list[str]]]
"""Returns why the process cannot do its work just now, a sentence for each cause; an empty list means ready."""


class EmbeddedServer(uvicorn.Server):
    """Uvicorn inside the event loop of a process that handles signals itself."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def application(troubles: FindTroubles) -> Starlette:
    """`/health` answers 200 while the event loop turns; `/ready` answers 200, or 503 with the troubles. A roll-out that
    replaces processes one by one asks with `?standby=ok`: then 200 also means that another process leads."""

    async def health(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def ready(request: Request) -> Response:
        found = await troubles()
        if request.query_params.get("standby") == "ok" and any(one.startswith("standby: ") for one in found):
            found = []
        return JSONResponse(
            {"status": "not ready" if found else "ready", "troubles": found}, status_code=503 if found else 200
        )

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return Starlette(routes=[Route("/health", health), Route("/ready", ready), Route("/metrics", metrics)])


@contextlib.asynccontextmanager
async def serve(host: str, port: int, troubles: FindTroubles) -> AsyncIterator[None]:
    """Serve the routes while the context is open. Raises OSError if the address is taken."""
    with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as listener:
        server = EmbeddedServer(uvicorn.Config(application(troubles), log_config=None, access_log=False))
        task = asyncio.create_task(server.serve([listener]), name="http")
        try:
            yield
        finally:
            server.should_exit = True
            await task
