"""Routes for the accounts of the installation, for the admins of the organization that runs it."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query, Request, Response

from api.access.guard import Db, Member, allow
from api.access.roles import Role, Scope
from api.http import answers, cursors, description
from api.http.answers import Table
from api.http.bodies import described, order
from api.http.description import ok
from api.http.parameters import ListParameters
from api.queries import installation as queries
from api.routes import Router
from api.routes.organizations import LAST_ID
from api.services import App
from api.shapes import installation as shapes
from api.shapes.installation import AccountChange, NewPasswordLink

router = Router("accounts")

READS = allow(Role.ADMIN, Scope.ORGANIZATION_READ)
CHANGES = allow(Role.ADMIN, Scope.ORGANIZATION_WRITE)
ACCOUNTS = Table(
    name="accounts",
    of=shapes.InstallationAccount,
    item=queries.item,
    title="InstallationAccounts",
    key={"user_id": cursors.small},
    first=(0,),
)
ONLY = "For the organization that runs the installation; 403 for others. "
UserId = Annotated[int, Path(ge=1, le=LAST_ID, description="`user_id` in the list", examples=[12])]


@router.table(
    "/accounts",
    summary="All accounts, with their last log-in",
    description=ONLY,
    responses=description.DATABASE | ACCOUNTS.described(shapes.ACCOUNT),
    dependencies=[READS],
)
async def accounts(request: Request, database: Db, asked: Annotated[ListParameters, Query()]) -> Response:
    return await ACCOUNTS.page(request, asked, lambda after, limit: queries.accounts(database, after[0], limit))


@router.patch(
    "/accounts/{user_id}",
    summary="Disable or enable an account, or vouch for its address",
    description=ONLY
    + "A disabled account keeps its name in the audit trail, and its roles for when it is enabled. API "
    "keys that the person made go on: end them as well if need be.",
    responses=description.CHANGE | ok(shapes.InstallationAccount, account=shapes.ACCOUNT),
    openapi_extra=described(AccountChange),
    dependencies=[CHANGES],
)
async def change(request: Request, app: App, database: Db, member: Member, user_id: UserId) -> Response:
    await queries.change(database, user_id, await order(request, AccountChange), member)
    app.identities.forget()
    return answers.json(await queries.account(database, user_id))


@router.post(
    "/accounts/{user_id}/password-link",
    status_code=201,
    summary="Make a link by which a person sets a new password, once",
    description=ONLY + "Who has the link has the account: hand it to the person. An earlier link ends.",
    responses=description.CHANGE | description.made(shapes.PasswordLink, link=shapes.LINK),
    openapi_extra=described(NewPasswordLink),
    dependencies=[CHANGES],
)
async def password_link(request: Request, database: Db, member: Member, user_id: UserId) -> Response:
    given, origin = await order(request, NewPasswordLink), f"{request.url.scheme}://{request.url.netloc}"
    return answers.json(await queries.password_link(database, user_id, given, member, origin), 201)
