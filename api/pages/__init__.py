"""The pages for people: HTML made here, with htmx, uPlot and modules of ours in `static/`. A page works without
JavaScript as far as lists and forms go; what it may load is in `api/edge/headers.py`."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import HTMLResponse
from starlette.routing import Route

from api.pages import (
    activity,
    audit,
    delivery,
    devices,
    enrollment,
    entrance,
    plant,
    quarantine,
    serials,
    shell,
)
from api.pages.page import environment, static_files
from api.pages.static import PREFIX

RESET = (Path(__file__).parent / "reset.html").read_text()
ROUTERS = (
    *(plant.router, delivery.router, quarantine.router, devices.router, enrollment.router, serials.router),
    *(activity.router, audit.router, shell.router, entrance.router),
)


async def reset() -> HTMLResponse:
    """The page behind the link of an admin, which asks for a new password."""
    return HTMLResponse(RESET)


def install(app: FastAPI) -> None:
    """Add the pages to the application. Raises MissingFile."""
    environment()
    app.router.routes.append(Route(f"{PREFIX}{{digest}}/{{name:path}}", static_files().answer, methods=["GET"]))
    app.add_api_route("/reset", reset, include_in_schema=False)
    for router in ROUTERS:
        app.router.routes.extend(router.routes)
