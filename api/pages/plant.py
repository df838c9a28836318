"""The plant: all vessels at a glance. Without JavaScript it shows what was true when it was asked for."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Query, Response
from pydantic import Field

from api.access.guard import Db, allow
from api.access.roles import Role, Scope
from api.http.parameters import StrictParameters
from api.pages.page import OrganizationPage, PageRouter, is_partial
from api.queries import plant as queries
from api.queries.plant import WantedVessels

router = PageRouter(allow(Role.VIEWER, Scope.TELEMETRY_READ))
State = Literal["alarm", "online", "offline", "silent"]


class PlantParameters(StrictParameters):
    tag: list[Annotated[str, Field(min_length=1, max_length=40)]] = Field([], max_length=32)
    location: str = Field("", max_length=200)
    q: str = Field("", max_length=100)
    state: State | Literal[""] = ""
    wall: bool = False


@router.get("/plant")
async def plant(page: OrganizationPage, database: Db, asked: Annotated[PlantParameters, Query()]) -> Response:
    wanted = WantedVessels(asked.location, [tag for tag in asked.tag if tag], asked.q, asked.state)
    vessels = await queries.vessels(database, wanted)
    if is_partial(page.request):
        return page.show("partials/vessels.html", vessels=vessels)
    tags, locations = await queries.choices(database)
    return page.show(
        "pages/plant.html", vessels=vessels, tags=tags, locations=locations, asked=asked, here="plant", wall=asked.wall
    )
