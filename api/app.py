"""The application put together: settings → database → routes; errors and observation around them."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Response
from fastapi.routing import APIRoute
from fastapi_offline import FastAPIOffline

from api import access, models, problems
from api.database import Server
from api.identity import Identities
from api.observation import Observer
from api.routes import commands, devices, enrollments, journal, latest, operation, serials, telemetry
from api.settings import Settings

ROUTES = (operation, latest, telemetry, devices, journal, enrollments, serials, commands)
"""The ones most asked for first: FastAPI tries one after the other, and forty take longer than /health itself."""
DESCRIPTION = """Access to devices, telemetry, events and the quarantine; enrollment and logins, for operators.

* Times are given as ISO 8601 with a zone or as milliseconds since 1970; answers have UTC with `Z`, to the microsecond.
* Lists come in pages: `truncated` says that there is more, `next` is the `cursor` of the page after.
* JSON or CSV: by `Accept`, by `format=`, or by an address ending in `.csv`.
* Errors are `application/problem+json` (RFC 9457) and say what to change; unknown parameters are errors.
"""


def create_app(settings: Settings) -> FastAPI:
    """An application that opens its database when it starts and closes it last."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with Server(settings) as server:
            app.state.server = server
            app.state.identities = Identities(server.accounts, app.state.jwt_key)
            async with app.state.identities.listening():
                yield

    app = FastAPIOffline(
        title="Biogate", version="1", description=DESCRIPTION, lifespan=lifespan, default_response_class=Response
    )
    secret = settings.api_secret_file
    app.state.jwt_key = secrets.token_bytes(32) if secret is None else secret.read_bytes().strip()
    app.state.cookie = access.COOKIE
    problems.install(app)
    for module in ROUTES:
        app.include_router(module.router)
    app.add_middleware(Observer)
    describe = app.openapi
    routes = [route for module in ROUTES for route in module.router.routes if isinstance(route, APIRoute)]
    app.openapi = lambda: models.with_examples(describe(), routes)  # type: ignore[method-assign]
    return app
