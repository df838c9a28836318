"""Packs pages, and what pages read, on the way to a browser.

The length of what is packed tells a little of what is in it (BREACH): who can make a reader's browser ask for a page
with chosen words in it, and sees the length, can try words. So what a foreign page asks for is not packed; and no page
that can be asked for again has a secret in it: the session is in a cookie, an act is known by the page that it comes
from, and a key that is shown once is the answer to an act.
"""

from __future__ import annotations

from starlette.middleware.gzip import DEFAULT_EXCLUDED_CONTENT_TYPES, GZipMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from api.edge.headers import is_for_people

LEAST_BYTES = 1024
LEVEL = 4
"""A plant of 50 vessels, 120 KB, becomes 5 KB in 0.3 ms; level 9 takes twice as long for 15 % less."""
IN_THREADS = 512 * 1024
"""Bytes from which on another thread packs them; below, that takes longer than the packing."""
STREAMS = (
    *("text/csv", "application/jsonl", "application/octet-stream"),
    *("application/vnd.apache.arrow.stream", "application/vnd.apache.parquet"),
)


class PackedPages:
    """ASGI middleware. Programs, whose requests do not say from which page they come, get answers of the API as they
    are: on the hot routes packing would cost more than all else."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._packed = GZipMiddleware(
            app,
            minimum_size=LEAST_BYTES,
            compresslevel=LEVEL,
            thread_minimum_size=IN_THREADS,
            exclude_content_types=(*DEFAULT_EXCLUDED_CONTENT_TYPES, *STREAMS),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (self._packed if _is_packed(scope) else self._app)(scope, receive, send)


def _is_packed(scope: Scope) -> bool:
    if scope["type"] != "http":
        return False
    site = next((value for name, value in scope["headers"] if name == b"sec-fetch-site"), None)
    return site == b"same-origin" or (site in {None, b"none"} and is_for_people(scope["path"]))
