"""Records of material: the list with its sums, one record with its versions, and the balance of a vessel."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import Path, Query, Response
from pydantic import Field

from api.access.guard import Db, allow
from api.access.roles import Role, Scope
from api.http import cursors
from api.http.bodies import Order
from api.http.run_times import RunAsked
from api.pages.listing import PageSpan, address, part
from api.pages.page import OrganizationPage, PageRouter, Version, is_partial
from api.queries import material_balance, run_times
from api.queries import materials as queries
from api.queries.run_times import PlacedQuestion
from api.shapes.materials import (
    MATERIAL_KINDS,
    UNITS,
    BalanceParameters,
    MaterialChange,
    MaterialKind,
    MaterialParameters,
    NewMaterial,
    SumParameters,
)
from schema import times

router = PageRouter()
READ = [allow(Role.VIEWER, Scope.TELEMETRY_READ)]
WRITE = [allow(Role.OPERATOR, Scope.DEVICES_WRITE)]
KEY = {"begins": cursors.instant, "number": cursors.number}
HERE = "samples"
CHOICES: dict[str, Any] = {"kinds": MATERIAL_KINDS, "units": UNITS}
Number = Annotated[int, Path(ge=1, le=queries.LAST_ID)]


class MaterialPageParameters(PageSpan):
    device: str | None = Field(None, max_length=64)
    run: RunAsked = None
    kind: MaterialKind | None = None
    withdrawn: bool = False
    density: float = Field(1.0, gt=0.1, lt=30, allow_inf_nan=False)


class CorrectionForm(MaterialChange):
    version: Version


@router.get("/materials", dependencies=READ)
async def listed(page: OrganizationPage, database: Db, asked: Annotated[MaterialPageParameters, Query()]) -> Response:
    kinds = [asked.kind] if asked.kind else []
    said = {"device": asked.device, "run": asked.run} | asked.said()
    wanted = MaterialParameters.model_validate(said | {"kind": kinds, "withdrawn": asked.withdrawn})
    question = await run_times.placed(database, wanted, asked.device)
    found = await part(
        page.request,
        asked.cursor,
        KEY,
        (question.span.end, queries.LAST_ID),
        lambda before, limit: queries.page(database, question, before, limit),
    )
    values: dict[str, Any] = {"materials": [queries.item(row) for row in found.rows], "following": found.following}
    values |= {"asked": asked, "address": address(page.request), "balances": [], "sums": []}
    span = question.span
    if question.devices and span.begin != times.FIRST:
        end = min(span.end, datetime.now(UTC) + timedelta(seconds=1))
        if span.begin < end:
            over = {"from": times.text(span.begin), "to": times.text(end), "density": asked.density}
            wish = PlacedQuestion(BalanceParameters.model_validate(over), None)
            values["balances"] = [await material_balance.balance(database, it, wish) for it in question.devices]
    if not values["balances"]:
        total = SumParameters.model_validate(said | {"density": asked.density})
        values["sums"] = await material_balance.sums(database, await run_times.placed(database, total, asked.device))
    if is_partial(page.request):
        return page.show("partials/materials.html", **values)
    return page.show("pages/materials.html", here=HERE, tab="materials", **CHOICES, **values)


@router.post("/materials", dependencies=WRITE)
async def add(page: OrganizationPage, database: Db) -> Response:
    made = await queries.add(database, await page.form(NewMaterial), page.member.who)
    return page.done(f"{made.quantity:g} {made.unit} of {made.material} are recorded.", "materials")


@router.get("/materials/{material}", dependencies=READ)
async def one(page: OrganizationPage, database: Db, material: Number) -> Response:
    versions = [queries.item(row) for row in await queries.versions(database, material)]
    return page.show("pages/material.html", here=HERE, versions=versions, one=versions[0], **CHOICES)


@router.post("/materials/{material}", dependencies=WRITE)
async def change(page: OrganizationPage, database: Db, material: Number) -> Response:
    given = await page.form(CorrectionForm)
    emptied = given.model_fields_set | {"lot", "ends"}  # a form leaves out what is empty
    order = MaterialChange.model_construct(_fields_set=emptied, **given.model_dump())
    made = await queries.change(database, material, order, page.member.who)
    return page.done(f"Version {made.version} is saved.", f"materials/{material}")


@router.post("/materials/{material}/withdraw", dependencies=WRITE)
async def withdraw(page: OrganizationPage, database: Db, material: Number) -> Response:
    await queries.withdraw(database, material, page.member.who, (await page.form(Order)).why)
    return page.done("The record is withdrawn.", "materials")
