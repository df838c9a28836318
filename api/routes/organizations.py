"""Routes for organizations, their members, invitations and API keys."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query, Request, Response
from pydantic import Field

from api import entrance
from api.access.guard import Accounts, Caller, Db, Member, Person, allow
from api.access.roles import Role, Scope
from api.http import answers, cursors, description
from api.http.answers import JsonOnly, Table
from api.http.bodies import described, order
from api.http.description import ok
from api.http.parameters import ListParameters, StrictParameters, Words
from api.queries import organizations as queries
from api.queries import policies
from api.queries.organizations import may_grant
from api.routes import Router
from api.services import App
from api.shapes import organizations as shapes
from api.shapes.organizations import Joining, MemberChange, NewInvitation, NewKey, NewOrganization, OrganizationChange
from api.shapes.pending_acts import WAITS
from api.shapes.policies import POLICY, NewPolicy, PolicyAnswer
from schema import times

router = Router("organizations")

VIEWS = allow(Role.VIEWER, Scope.ORGANIZATION_READ)
READS = allow(Role.ADMIN, Scope.ORGANIZATION_READ)
CHANGES = allow(Role.ADMIN, Scope.ORGANIZATION_WRITE)
LEAVES = allow(Role.VIEWER, Scope.ORGANIZATION_WRITE)

LAST_ID = 2**31 - 1
MEMBERS = Table(name="members", of=shapes.Member, key={"user_id": cursors.small}, first=(0,))
INVITATIONS = Table(name="invitations", of=shapes.Invitation, key={"invitation_id": cursors.small}, first=(LAST_ID,))
KEYS = Table(
    name="keys",
    of=shapes.Key,
    key={"created_at": cursors.instant, "key_id": cursors.device},
    first=(times.LAST, queries.LAST_KEY_ID),
)

Id = Annotated[int, Path(ge=1, le=LAST_ID, description="number in the list", examples=[12])]
KeyId = Annotated[str, Path(description="id of a key", pattern="^[a-z2-7]{12}$", examples=[shapes.KEY["key_id"]])]


class OptionalReason(StrictParameters):
    why: Words = Field("asked for", description="the reason, for the audit trail")


@router.get(
    "/organizations",
    summary="The organizations one is a member of",
    responses=description.DATABASE | ok(shapes.Organizations, organizations={"organizations": [shapes.MEMBERSHIP]}),
)
async def mine(app: App, principal: Caller, _: JsonOnly) -> Response:
    return answers.json(shapes.Organizations(organizations=await queries.whose(app.server, principal)))


@router.post(
    "/organizations",
    status_code=201,
    summary="Make an organization; who makes it is its admin",
    description="For everybody where everybody may make an account; elsewhere for admins of the organization that runs "
    "the installation, as each organization has a share of what all share.",
    responses=description.CHANGE
    | description.made(shapes.Membership, organization=shapes.MEMBERSHIP | {"role": "admin"}),
    openapi_extra=described(NewOrganization),
)
async def create(request: Request, app: App, database: Accounts, person: Person) -> Response:
    made = await entrance.make_organization(app, database, person, await order(request, NewOrganization))
    app.identities.forget()
    return answers.json(made, 201)


@router.post(
    "/organizations/join",
    status_code=201,
    summary="Become a member, with the code of an invitation",
    responses=description.CHANGE | description.made(shapes.Membership, organization=shapes.MEMBERSHIP),
    openapi_extra=described(Joining),
)
async def join(request: Request, app: App, database: Accounts, person: Person) -> Response:
    return answers.json(await entrance.join(request, app, database, person, await order(request, Joining)), 201)


@router.get(
    "/organization",
    summary="The organization that this request is for",
    description="It is that of the header `Biogate-Organization`, a key's own, or else the first one joined.",
    responses=description.THING | ok(shapes.Organization, organization=shapes.ORGANIZATION),
    dependencies=[VIEWS],
)
async def current(database: Db, member: Member, _: JsonOnly) -> Response:
    return answers.json(await queries.organization(database, member.role))


@router.patch(
    "/organization",
    summary="Change title, description or contact of the organization, or what its devices may do",
    responses=description.CHANGE | ok(shapes.Organization, organization=shapes.ORGANIZATION),
    openapi_extra=described(OrganizationChange),
    dependencies=[CHANGES],
)
async def change(request: Request, database: Db, member: Member) -> Response:
    given = await order(request, OrganizationChange)
    await queries.organization_change(database, given, member.who)
    return answers.json(await queries.organization(database, member.role))


@router.get(
    "/organization/policy",
    summary="What the organization demands: idle log-out, passwords, signatures, a second person",
    responses=description.THING | ok(PolicyAnswer, policy=POLICY),
    dependencies=[VIEWS],
)
async def policy(database: Db, _: JsonOnly) -> Response:
    return answers.json(await policies.one(database))


@router.put(
    "/organization/policy",
    summary="Change what the organization demands",
    description="The body is the whole policy. Of what several organizations of a person demand of passwords and "
    "sessions, the strictest holds. It holds at once, for sessions and passwords that there are, too. To demand a "
    "second person for less than before waits for another admin, if there is one: 202.",
    responses=description.CHANGE | WAITS | ok(PolicyAnswer, policy=POLICY),
    openapi_extra=described(NewPolicy),
    dependencies=[CHANGES],
)
async def put_policy(request: Request, app: App, database: Db, member: Member) -> Response:
    changed = await policies.put(database, await order(request, NewPolicy), member)
    app.identities.forget()
    return answers.json(changed)


@router.table(
    "/organization/members",
    summary="Members",
    responses=description.DATABASE | MEMBERS.described(shapes.MEMBER),
    dependencies=[READS],
)
async def members(request: Request, database: Db, asked: Annotated[ListParameters, Query()]) -> Response:
    return await MEMBERS.page(request, asked, lambda after, limit: queries.members(database, after[0], limit))


@router.patch(
    "/organization/members/{user_id}",
    summary="Change the role of a member",
    description="The last admin cannot be changed. The new role takes effect with the member's next request.",
    responses=description.CHANGE | ok(shapes.Member, member=shapes.MEMBER),
    openapi_extra=described(MemberChange),
    dependencies=[CHANGES],
)
async def change_member(request: Request, app: App, database: Db, member: Member, user_id: Id) -> Response:
    given = await order(request, MemberChange)
    may_grant(member, given.role)
    await queries.member_change(database, user_id, given.role, member.who, given.why)
    app.identities.forget()
    return answers.json(await queries.member(database, user_id))


@router.delete(
    "/organization/members/{user_id}",
    status_code=204,
    summary="Remove a member, or leave",
    description="Admins remove anybody, everybody can leave; the last admin stays. Keys that they made go on: end them "
    "as well if need be.",
    responses=description.CHANGE | description.NOTHING,
    dependencies=[LEAVES],
)
async def remove_member(
    app: App, database: Db, member: Member, user_id: Id, asked: Annotated[OptionalReason, Query()]
) -> Response:
    await queries.member_remove(database, user_id, member, asked.why)
    app.identities.forget()
    return Response(status_code=204)


@router.table(
    "/organization/invitations",
    summary="Invitations, newest first, without their codes; until 30 days after they have expired",
    responses=description.DATABASE | INVITATIONS.described(shapes.INVITATION),
    dependencies=[READS],
)
async def invitations(request: Request, database: Db, asked: Annotated[ListParameters, Query()]) -> Response:
    return await INVITATIONS.page(request, asked, lambda after, limit: queries.invitations(database, after[0], limit))


@router.post(
    "/organization/invitations",
    status_code=201,
    summary="Invite: make a code with which people join",
    responses=description.CHANGE | description.made(shapes.MadeInvitation, invitation=shapes.MADE_INVITATION),
    openapi_extra=described(NewInvitation),
    dependencies=[CHANGES],
)
async def invite(request: Request, database: Db, member: Member) -> Response:
    return answers.json(await queries.invite(database, member, await order(request, NewInvitation)), 201)


@router.delete(
    "/organization/invitations/{invitation_id}",
    status_code=204,
    summary="Withdraw an invitation",
    responses=description.CHANGE | description.NOTHING,
    dependencies=[CHANGES],
)
async def withdraw(
    database: Db, member: Member, invitation_id: Id, asked: Annotated[OptionalReason, Query()]
) -> Response:
    await queries.invitation_end(database, invitation_id, member.who, asked.why)
    return Response(status_code=204)


@router.table(
    "/organization/keys",
    summary="API keys, newest first, without their secrets",
    responses=description.DATABASE | KEYS.described(shapes.KEY),
    dependencies=[READS],
)
async def keys(request: Request, database: Db, asked: Annotated[ListParameters, Query()]) -> Response:
    return await KEYS.page(request, asked, lambda before, limit: queries.keys(database, before, limit))


@router.post(
    "/organization/keys",
    status_code=201,
    summary="Make an API key; it is shown in this answer only",
    description="It can do at most what its maker can: role, scopes and, if a key makes it, time.",
    responses=description.CHANGE | description.made(shapes.MadeKey, key=shapes.MADE_KEY),
    openapi_extra=described(NewKey),
    dependencies=[CHANGES],
)
async def make_key(request: Request, database: Db, member: Member) -> Response:
    return answers.json(await queries.make_key(database, member, await order(request, NewKey)), 201)


@router.delete(
    "/organization/keys/{key_id}",
    status_code=204,
    summary="End an API key, at once",
    responses=description.CHANGE | description.NOTHING,
    dependencies=[CHANGES],
)
async def end_key(
    app: App, database: Db, member: Member, key_id: KeyId, asked: Annotated[OptionalReason, Query()]
) -> Response:
    await queries.key_end(database, key_id, member.who, asked.why)
    app.identities.forget()
    return Response(status_code=204)
