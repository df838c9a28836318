"""Routes for the accounts of the installation, for the admins of the organization that runs it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import Path, Query, Request, Response

from api.access.guard import Db, Member, allow
from api.access.roles import ALL_SCOPES, Role, Scope
from api.access.tokens import new_code
from api.http import answers, cursors, description
from api.http.answers import Table
from api.http.bodies import described, order
from api.http.description import ok
from api.http.parameters import ListParameters
from api.problems import Conflict, Forbidden
from api.queries import installation as queries
from api.routes import Router
from api.routes.organizations import LAST_ID
from api.services import App
from api.shapes import installation as shapes
from api.shapes.installation import AccountChange, NewPasswordLink
from schema import times

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
    given = await order(request, AccountChange)
    if given.disabled and user_id == member.user_id:
        raise Conflict("you cannot disable your own account: another admin can")
    await queries.account_change(
        database, user_id, disabled=given.disabled, verified=given.verified, who=member.who, why=given.why
    )
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
    given = await order(request, NewPasswordLink)
    if not member.scopes >= ALL_SCOPES:
        raise Forbidden("people have all scopes: a key without all of them cannot let anybody log in")
    code, until = new_code(), datetime.now(UTC) + given.expires_in
    await queries.password_reset_make(database, user_id, code, until, who=member.who, why=given.why)
    link = f"{request.url.scheme}://{request.url.netloc}/reset#{code}"
    return answers.json(shapes.PasswordLink(link=link, code=code, expires_at=times.text(until)), 201)
