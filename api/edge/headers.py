"""The security headers of every answer. A browser must not guess the content's type, and must not run, frame or store
anything of it; the pages for people may run their own scripts, and public files may be stored."""

from __future__ import annotations

import base64
import hashlib
import inspect
import re
from collections.abc import Iterable, Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.routing import APIRoute

Headers = tuple[tuple[bytes, bytes], ...]

NOTHING = "default-src 'none'; frame-ancestors 'none'"
COMMON = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
HSTS = {"Strict-Transport-Security": "max-age=31536000"}
NO_STORE = {"Cache-Control": "no-store"}
CORS: dict[str, Any] = {
    "allow_credentials": True,
    "allow_methods": ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"],
    "allow_headers": [
        "Authorization",
        "Biogate-Organization",
        "Content-Type",
        "Idempotency-Key",
        "If-Match",
        "If-None-Match",
        "Last-Event-ID",
        "X-Request-ID",
    ],
    "expose_headers": ["ETag", "Idempotency-Replayed", "Link", "Location", "Retry-After", "X-Request-ID"],
    "max_age": 600,
}
"""What pages of other origins may do, if the settings name their origin; without any there is no CORS at all."""
PAGES = frozenset({"/docs", "/docs/oauth2-redirect", "/redoc"})
PUBLIC = ("/openapi.json", "/static-offline-docs/", "/static/")
FOR_PEOPLE = ("/app", "/login", "/enter", "/logout", "/invited", "/reset")
"""Where the addresses of pages begin."""
OURS = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
"""The policy of a page for people: our own files, and no script or style within the page."""
REPORT = re.compile(r"/reports/[^/]+/(report|signed)\.html$")
"""Where the address of a report ends: a file that stands for itself, with its style in it."""
ALONE = "default-src 'none'; style-src 'unsafe-inline'; sandbox; frame-ancestors 'none'"
SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)


class SecurityHeaders:
    """The headers of an address, made once."""

    def __init__(self, *, tls: bool) -> None:
        self._common = COMMON | HSTS if tls else COMMON
        self._public = _encoded(self._common | {"Content-Security-Policy": NOTHING})
        self._private = (*self._public, *_encoded(NO_STORE))
        self._pages: dict[str, Headers] = {}
        self._report = _encoded(self._common | {"Content-Security-Policy": ALONE} | NO_STORE)
        people = {"Content-Security-Policy": OURS, "Referrer-Policy": "same-origin"}
        # With no referrer at all, browsers do not name the page that sends a form, and its act would be refused.
        self._people = _encoded(self._common | people | NO_STORE)

    def allow(self, pages: Mapping[str, str]) -> None:
        """Let browsers run the scripts that are in these pages (address → HTML)."""
        for path, html in pages.items():
            policy = {"Content-Security-Policy": _policy(SCRIPT.findall(html))}
            self._pages[path] = _encoded(self._common | policy)

    def of(self, path: str) -> Headers:
        if path.startswith(PUBLIC):
            return self._public
        if REPORT.search(path) is not None:
            return self._report
        if is_for_people(path):
            return self._people
        return self._pages.get(path, self._private)


def is_for_people(path: str) -> bool:
    """Whether a page of ours is, or would be, at this address."""
    return path == "/" or any(path == place or path.startswith(f"{place}/") for place in FOR_PEOPLE)


async def pages(app: FastAPI) -> dict[str, str]:
    """The pages for people, as they are sent."""
    found = {}
    for route in app.routes:
        if isinstance(route, APIRoute) and route.path in PAGES:
            asked = [Request({"type": "http", "root_path": ""})] if inspect.signature(route.endpoint).parameters else []
            found[route.path] = bytes((await route.endpoint(*asked)).body).decode()
    return found


def _policy(scripts: Iterable[str]) -> str:
    """The policy of a page for people: it may load our own files, and run these scripts of its own."""
    hashes = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(["'self'", *(f"'sha256-{one}'" for one in hashes)])
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'"
    )


def _encoded(headers: Mapping[str, str]) -> Headers:
    return tuple((name.lower().encode(), value.encode()) for name, value in headers.items())
