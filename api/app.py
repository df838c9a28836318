"""The application put together: settings → database → routes; errors and observation around them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.routing import APIRoute, APIWebSocketRoute
from fastapi_offline import FastAPIOffline
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route as StarletteRoute
from starlette.routing import request_response

from api import metrics, pages
from api.access.identity import CHANGED
from api.edge import headers
from api.edge.headers import CORS, SecurityHeaders
from api.edge.observation import Observer
from api.edge.packing import PackedPages
from api.edge.shortcuts import Fixed
from api.edge.turns import watched
from api.http import answers, description, errors
from api.http.bodies import MOST_BYTES as MOST_ORDER_BYTES
from api.live.activity import ActivityFeed
from api.live.alarms import AlarmFeed
from api.live.hub import Feed, FeedListener
from api.live.presence import PresenceFeed
from api.live.telemetry import TelemetryFeed
from api.notices import Notices
from api.pages import errors as page_errors
from api.pages.alarm_rules import MOST_FILE_BYTES
from api.pages.lab_samples import MOST_FORM_BYTES as MOST_SAMPLES_FORM_BYTES
from api.pages.serials import MOST_FORM_BYTES
from api.routes import (
    PREFIX,
    accounts,
    activity,
    alarm_acts,
    alarm_health,
    alarm_routes,
    alarm_rules,
    alarm_trials,
    alarms,
    alerts,
    annotations,
    audit,
    channels,
    commands,
    computed,
    corrections,
    deviations,
    device_cards,
    device_clocks,
    device_status,
    devices,
    enrollments,
    events,
    evidence,
    exports,
    imports,
    installation,
    jobs,
    lab_samples,
    latest,
    lifecycle,
    live_data,
    materials,
    operation,
    organizations,
    pending_acts,
    quarantine,
    reports,
    retention,
    reviews,
    run_comparison,
    runs,
    sample_imports,
    sample_telemetry,
    search,
    serials,
    shift_log,
    signatures,
    status,
    summary,
    telemetry,
    telemetry_many,
)
from api.services import Services
from api.settings import ApiSettings
from api.shapes.computed import ComputedDefinition
from api.shapes.deviations import MOST_ATTACHED_BYTES
from api.shapes.sample_imports import MOST_BYTES as MOST_SAMPLES_BYTES
from schema.alarms import files
from schema.alarms.notification_routes import NotificationRoute
from schema.alarms.rules import Definition
from schema.reachability import watched_database
from schema.serials import MOST_BYTES

ROUTES = (
    *(
        operation,
        latest,
        telemetry,
        telemetry_many,
        devices,
        channels,
        computed,
        status,
        annotations,
        corrections,
        events,
        quarantine,
        run_comparison,
        runs,
    ),
    *(enrollments, serials, lifecycle, commands, audit, jobs, exports, imports, reports, reviews, evidence),
    *(lab_samples, sample_imports, sample_telemetry, materials),
    *(accounts, organizations, installation, retention),
    *(deviations, search, shift_log, device_cards, device_clocks, signatures, pending_acts),
    *(live_data, device_status, activity, summary, alerts),
    *(alarms, alarm_acts, alarm_trials, alarm_rules, alarm_routes, alarm_health),
)
"""The ones most asked for first: FastAPI tries one after the other, and forty take longer than /health itself."""
DESCRIBED = [route for module in ROUTES for route in module.router.routes if isinstance(route, APIRoute)]
SOCKETS = frozenset(
    route.path.encode() for module in ROUTES for route in module.router.routes if isinstance(route, APIWebSocketRoute)
)
"""The addresses of WebSockets."""
FEEDS: tuple[type[Feed[Any]], ...] = (AlarmFeed, TelemetryFeed, PresenceFeed, ActivityFeed)
DESCRIPTION = """Access to devices, telemetry, events and the quarantine; enrollment and logins, for operators.

* Times are given as ISO 8601 with a zone (a date alone is its midnight), as milliseconds since 1970, as `now` or as a
  duration before now like `-24h`; answers have UTC with `Z`, to the microsecond.
* Lists come in pages: `truncated` says that there is more, `next` is the `cursor` of the page after.
* JSON or CSV: by `Accept`, by `format=`, or by an address ending in `.csv`. A text that a
  spreadsheet would take for a formula begins with an apostrophe in CSV.
* Errors are `application/problem+json` (RFC 9457) and say what to change; unknown parameters are errors.
"""


def create_app(settings: ApiSettings) -> FastAPI:
    """An application that opens its database when it starts and closes it last."""

    services = Services.of(settings)
    protected = SecurityHeaders(tls=settings.api_tls)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        hub, identities = services.hub, services.identities
        notices = Notices(services.server.accounts)
        notices.add(CHANGED, identities)
        notices.add(CHANGED, hub)
        for kind in FEEDS:
            for channel in kind.CHANNELS:
                notices.add(channel, FeedListener(hub, kind))
        protected.allow(await headers.pages(app))
        url = settings.api_database_url or settings.database_url
        database_watched = watched_database(url, metrics.DATABASE_REACHABLE.set)
        async with services.server:
            with services.passwords:
                async with hub, notices.listening(), watched(), database_watched:
                    yield

    app = FastAPIOffline(
        title="Biogate",
        version="1",
        description=DESCRIPTION,
        lifespan=lifespan,
        default_response_class=Response,
        redirect_slashes=False,  # to where the Host header says
    )
    app.state.services = services
    errors.install(app, DESCRIBED, page_errors.answer, page_errors.waits)
    for module in ROUTES:  # by `include_router` FastAPI would make each route once more, at the first request: 0.1 s
        app.router.routes.extend(module.router.routes)
    pages.install(app)
    app.router.routes.insert(0, Fixed("/health", operation.ALIVE))
    bodies = {
        f"{PREFIX}/serials": MOST_BYTES,
        f"{PREFIX}/alarm-rules.yaml": files.MAX_BYTES,
        "/app/{organization}/alarm-rules.yaml": MOST_FILE_BYTES,
        "/app/{organization}/enrollment/serials/import": MOST_FORM_BYTES,
        f"{PREFIX}/imports": settings.api_import_bytes,
        f"{PREFIX}/sample-imports": MOST_SAMPLES_BYTES,
        f"{PREFIX}/material-imports": MOST_SAMPLES_BYTES,
        "/app/{organization}/sample-imports": MOST_SAMPLES_FORM_BYTES,
        "/app/{organization}/material-imports": MOST_SAMPLES_FORM_BYTES,
        f"{PREFIX}/deviation-attachments": MOST_ATTACHED_BYTES,
        "/app/{organization}/deviation-attachments": MOST_ATTACHED_BYTES + MOST_ORDER_BYTES,
    }
    app.add_middleware(PackedPages)
    app.add_middleware(Observer, settings=settings, headers=protected, bodies=bodies, answer=page_errors.answer)
    if settings.api_cors_origins:
        app.add_middleware(CORSMiddleware, allow_origins=settings.api_cors_origins.split(","), **CORS)
    describe = app.openapi
    described: dict[str, Any] = {}

    def openapi() -> dict[str, Any]:
        if not described:
            described.update(
                description.with_examples(
                    describe(), DESCRIBED, description.components(Definition, NotificationRoute, ComputedDefinition)
                )
            )
        return described

    app.openapi = openapi  # type: ignore[method-assign]
    encoded: list[Response] = []

    async def encoded_once(_: Request) -> Response:
        """Encoded once: whoever comes can ask for it, and it takes 50 ms."""
        if not encoded:
            encoded.append(answers.json(app.openapi()))
        return encoded[0]

    for route in app.router.routes:
        if isinstance(route, StarletteRoute) and route.path == app.openapi_url:
            route.app = request_response(encoded_once)
    return app
