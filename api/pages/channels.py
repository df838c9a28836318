"""What is said of channels for all vessels at once: of the organization, or of a model."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Response
from pydantic import Field

from api.access.guard import Db
from api.http import cursors
from api.pages.listing import PageParameters, part
from api.pages.page import OrganizationPage, PageRouter, is_partial
from api.pages.vessel_channels import CHANGE, READ, ChannelForm, ChannelName, Nothing, about
from api.queries import channels as queries
from api.queries.channels import Which

router = PageRouter(prefix="/app/{organization}/channels")
WHOSE = " of all vessels"


class ModelChannelForm(ChannelForm):
    model: str | None = Field(None, max_length=64)


@router.get("", dependencies=[READ])
async def listed(page: OrganizationPage, database: Db, asked: Annotated[PageParameters, Query()]) -> Response:
    found = await part(
        page.request,
        asked.cursor,
        {"channel": cursors.device},
        ("",),
        lambda after, limit: queries.page(database, after[0], limit),
    )
    channels = [queries.item(row) for row in found.rows]
    return page.show("pages/channels.html", here="plant", channels=channels, following=found.following)


@router.get("/{channel:path}", dependencies=[READ])
async def one(page: OrganizationPage, database: Db, channel: ChannelName, _: Nothing) -> Response:
    detail, models = await queries.detail(database, Which(channel)), await queries.models(database)
    template = "partials/channel.html" if is_partial(page.request) else "pages/channel.html"
    return page.show(template, here="plant", **about(page, detail, "channels", WHOSE) | {"models": models})


@router.post("/{channel:path}", dependencies=[CHANGE])
async def change(page: OrganizationPage, database: Db, channel: ChannelName) -> Response:
    given, which = await page.form(ModelChannelForm), Which(channel)
    changed = given.change(await queries.detail(database, which))
    if given.model is not None:
        devices = await queries.describe_model(database, channel, given.model, changed, page.member.who)
        return page.done(f"{channel} is changed on {', '.join(devices)}.", "channels")
    after = await queries.describe(database, which, changed, given.version, page.member.who)
    return page.done("; ".join([f"{channel} is changed", *after.warnings]) + ".", "channels")
