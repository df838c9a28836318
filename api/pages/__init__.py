"""The pages for people: HTML made here, with htmx, uPlot and modules of ours in `static/`. A page works without
JavaScript as far as lists and forms go; what it may load is in `api/edge/headers.py`."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.routing import Route

from api.pages import (
    activity,
    alarm_figures,
    alarm_routes,
    alarm_rules,
    alarms,
    audit,
    channels,
    delivery,
    deviation_acts,
    deviations,
    device_cards,
    devices,
    enrollment,
    entrance,
    evidence,
    lab_samples,
    materials,
    me,
    organization,
    pending_acts,
    plant,
    quarantine,
    reports,
    reviews,
    run_comparison,
    run_figures,
    runs,
    search,
    serials,
    shell,
    shift_log,
    signatures,
    vessel,
    vessel_acts,
    vessel_channels,
)
from api.pages.page import environment, static_files
from api.pages.static import PREFIX

ROUTERS = (
    *(plant.router, vessel.router, vessel_acts.router, vessel_channels.router, channels.router, shell.router),
    *(alarms.router, alarm_rules.router, alarm_routes.router, alarm_figures.router),
    *(lab_samples.router, materials.router),
    *(runs.router, run_comparison.router, run_figures.router),
    *(delivery.router, quarantine.router, devices.router, enrollment.router, serials.router),
    *(
        activity.router,
        audit.router,
        reports.router,
        reviews.router,
        evidence.router,
        organization.router,
        me.router,
        me.invited_router,
        entrance.router,
    ),
    *(deviations.router, deviation_acts.router, search.router, shift_log.router, device_cards.router),
    *(signatures.router, pending_acts.router),
    *(activity.router, audit.router, organization.router, me.router, me.invited_router, entrance.router),
)


def install(app: FastAPI) -> None:
    """Add the pages to the application. Raises MissingFile."""
    environment()
    app.router.routes.append(Route(f"{PREFIX}{{digest}}/{{name:path}}", static_files().answer, methods=["GET"]))
    for router in ROUTERS:
        app.router.routes.extend(router.routes)
