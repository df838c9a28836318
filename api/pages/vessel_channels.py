"""What is said of the channels of a vessel: title, unit, range and the rest."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from api.access.guard import Db, allow
from api.access.roles import Role, Scope
from api.http.parameters import DeviceName, NoParameters, Words
from api.pages.page import OrganizationPage, Page, PageRouter, Version, is_partial
from api.problems import BadParameter
from api.queries import channels as queries
from api.queries import devices
from api.queries.channels import Which
from api.shapes.channels import ChannelChange, ChannelDetail
from schema.channels import LONGEST_NAME, MOST_DECIMALS, Kind

router = PageRouter(prefix="/app/{organization}/vessels/{device}/channels")
READ = allow(Role.VIEWER, Scope.DEVICES_READ)
CHANGE = allow(Role.ENGINEER, Scope.DEVICES_WRITE)
Nothing = Annotated[NoParameters, Query()]
ChannelName = Annotated[str, Path(max_length=LONGEST_NAME)]


class ChannelForm(BaseModel):
    """All that can be said of a channel, as it stands in the form; what is empty is not said."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    version: Version
    title: str | None = None
    unit: str | None = None
    unit_since: str | None = None
    kind: Kind | None = None
    low: Annotated[float | None, Field(allow_inf_nan=False)] = None
    high: Annotated[float | None, Field(allow_inf_nan=False)] = None
    decimals: Annotated[int, Field(ge=0, le=MOST_DECIMALS)] | None = None
    step: Literal["true", "false"] = "false"
    why: Words

    def change(self, before: ChannelDetail) -> ChannelChange:
        """Return what differs from what was there. Raises BadParameter."""
        wanted = {name: getattr(self, name) for name in ("title", "unit", "kind", "low", "high", "decimals")}
        wanted["step"] = self.step == "true"
        said: dict[str, Any] = {name: value for name, value in wanted.items() if value != getattr(before, name)}
        if "low" in said or "high" in said:
            said |= {"low": self.low, "high": self.high}
        if self.unit_since is not None:
            said["unit_since"] = self.unit_since
            said.setdefault("unit", self.unit)
        if not said:
            raise BadParameter("form", "changes nothing")
        try:
            return ChannelChange.model_validate(said | {"why": self.why})
        except ValidationError as error:
            first = error.errors()[0]
            field = first.get("ctx", {}).get("parameter") or ".".join(map(str, first["loc"]))
            raise BadParameter(field, first["msg"].removeprefix("Value error, ")) from error


def about(page: Page, detail: ChannelDetail, place: str, whose: str) -> dict[str, Any]:
    """Return what the page of a channel shows; it lies below `place`."""
    address = page.url(f"{place}/{quote(detail.channel, safe='')}")
    return {"channel": detail, "place": place, "whose": whose, "address": address, "models": []}


@router.get("", dependencies=[READ])
async def channels(page: OrganizationPage, database: Db, device: DeviceName, _: Nothing) -> Response:
    found = await devices.device(database, device)
    return page.show("pages/vessel_channels.html", device=device, channels=found.channels, here="plant")


@router.get("/{channel:path}", dependencies=[READ])
async def one(
    page: OrganizationPage,
    database: Db,
    *,
    device: DeviceName,
    channel: ChannelName,
    _: Nothing,
) -> Response:
    detail = await queries.detail(database, Which(channel, device))
    template = "partials/channel.html" if is_partial(page.request) else "pages/channel.html"
    return page.show(template, here="plant", **about(page, detail, f"vessels/{device}/channels", f" of {device}"))


@router.post("/{channel:path}", dependencies=[CHANGE])
async def change(page: OrganizationPage, database: Db, *, device: DeviceName, channel: ChannelName) -> Response:
    given, which = await page.form(ChannelForm), Which(channel, device)
    before = await queries.detail(database, which)
    after = await queries.describe(database, which, given.change(before), given.version, page.member.who)
    return page.done("; ".join([f"{channel} is changed", *after.warnings]) + ".", f"vessels/{device}/channels")
