"""The organization: what it is called, who belongs to it, its invitations, keys and holds."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Path, Response

from api.access.guard import Db, allow
from api.access.roles import Role, Scope
from api.http.bodies import Order
from api.pages.page import OrganizationPage, Page, PageRouter
from api.queries import installation, organizations, pending_acts, policies, retention
from api.shapes.installation import AccountChange, NewPasswordLink
from api.shapes.organizations import MemberChange, NewInvitation, NewKey, OrganizationChange
from api.shapes.pending_acts import PendingActAnswer
from api.shapes.policies import NewPolicy
from api.shapes.retention import NewHold
from schema import times

router = PageRouter()
VIEWS = allow(Role.VIEWER, Scope.ORGANIZATION_READ)
CHANGES = allow(Role.ADMIN, Scope.ORGANIZATION_WRITE)
LEAVES = allow(Role.VIEWER, Scope.ORGANIZATION_WRITE)
MOST, LAST_ID = 500, 2**31 - 1
FIRST_ORGANIZATION = 1
"""It runs the installation: it sees all accounts."""
HERE = "organization"
PENDING_KINDS = {
    "rules": "changes of alarm rules",
    "deviations": "closing of deviations",
    "samples": "approval of samples",
    "setpoints": "setpoints that are sent to devices",
}
Id = Annotated[int, Path(ge=1, le=LAST_ID)]
KeyId = Annotated[str, Path(pattern="^[a-z2-7]{12}$")]


@router.get("/organization", dependencies=[VIEWS])
async def show(page: OrganizationPage, database: Db) -> Response:
    return await _shown(page, database)


async def _shown(page: Page, database: Db, **once: object) -> Response:
    """Show the page; `once` has a secret that is shown in this answer only."""
    values: dict[str, Any] = dict.fromkeys(("members", "invitations", "keys", "holds", "accounts"), ())
    if page.member.may(Role.ADMIN, Scope.ORGANIZATION_READ):
        values |= {
            "members": await organizations.members(database, 0, MOST),
            "invitations": await organizations.invitations(database, LAST_ID, MOST),
            "keys": await organizations.keys(database, (times.LAST, organizations.LAST_KEY_ID), MOST),
            "holds": await retention.holds(database, LAST_ID, MOST),
        }
        if page.member.organization_id == FIRST_ORGANIZATION:
            values["accounts"] = [installation.item(row) for row in await installation.accounts(database, 0, MOST)]
    is_admin = page.member.may(Role.ADMIN, Scope.ORGANIZATION_WRITE)
    about = await organizations.organization(database, page.member.role)
    policy = await policies.one(database)
    return page.show(
        "pages/organization.html",
        **{"key": None, "code": None, "link": None, **once, **values},
        about=about,
        policy=policy,
        waiting=await _waiting(page, database),
        pending_kinds=PENDING_KINDS,
        is_admin=is_admin,
        roles=list(Role),
        scopes=list(Scope),
        here=HERE,
    )


async def _waiting(page: Page, database: Db) -> list[PendingActAnswer]:
    """Return the change of the policy that waits for a second person, for who may see it."""
    if not page.member.may(Role.OPERATOR, Scope.AUDIT_READ):
        return []
    return await pending_acts.waiting(database, f"organization/{page.member.organization}")


@router.post("/organization", dependencies=[CHANGES])
async def change(page: OrganizationPage, database: Db) -> Response:
    await organizations.organization_change(database, await page.form(OrganizationChange), page.member.who)
    return page.done("The organization is changed.", HERE)


@router.post("/organization/policy", dependencies=[CHANGES])
async def put_policy(page: OrganizationPage, database: Db) -> Response:
    given = await page.form(NewPolicy, meanings=",", second_person=",")
    await policies.put(database, given, page.member)
    page.app.identities.forget()
    return page.done("The policy is changed.", HERE)


@router.post("/organization/members/{user_id}", dependencies=[CHANGES])
async def change_member(page: OrganizationPage, database: Db, user_id: Id) -> Response:
    given = await page.form(MemberChange)
    organizations.may_grant(page.member, given.role)
    await organizations.member_change(database, user_id, given.role, page.member.who, given.why)
    page.app.identities.forget()
    return page.done(f"The member is {given.role} now.", HERE)


@router.post("/organization/members/{user_id}/remove", dependencies=[LEAVES])
async def remove_member(page: OrganizationPage, database: Db, user_id: Id) -> Response:
    await organizations.member_remove(database, user_id, page.member, (await page.form(Order)).why)
    page.app.identities.forget()
    return page.done("The member is removed.", HERE)


@router.post("/organization/invitations", dependencies=[CHANGES])
async def invite(page: OrganizationPage, database: Db) -> Response:
    made = await organizations.invite(database, page.member, await page.form(NewInvitation))
    link = f"{page.origin}/invited?code={made.code}"
    return await _shown(page, database, code=made.code, link=link)


@router.post("/organization/invitations/{invitation_id}/end", dependencies=[CHANGES])
async def withdraw(page: OrganizationPage, database: Db, invitation_id: Id) -> Response:
    await organizations.invitation_end(database, invitation_id, page.member.who, (await page.form(Order)).why)
    return page.done("The invitation is withdrawn.", HERE)


@router.post("/organization/keys", dependencies=[CHANGES])
async def make_key(page: OrganizationPage, database: Db) -> Response:
    made = await organizations.make_key(database, page.member, await page.form(NewKey, scopes=","))
    return await _shown(page, database, key=made.key)


@router.post("/organization/keys/{key_id}/end", dependencies=[CHANGES])
async def end_key(page: OrganizationPage, database: Db, key_id: KeyId) -> Response:
    await organizations.key_end(database, key_id, page.member.who, (await page.form(Order)).why)
    page.app.identities.forget()
    return page.done("The key has ended.", HERE)


@router.post("/organization/holds", dependencies=[CHANGES])
async def hold(page: OrganizationPage, database: Db) -> Response:
    given = await page.form(NewHold)
    await retention.make(database, given.device, (given.begins, given.ends), page.member.who, given.why)
    return page.done("The hold is made.", HERE)


@router.post("/organization/holds/{hold_id}/end", dependencies=[CHANGES])
async def end_hold(page: OrganizationPage, database: Db, hold_id: Id) -> Response:
    await retention.end(database, hold_id, page.member.who, (await page.form(Order)).why)
    return page.done("The hold has ended.", HERE)


@router.post("/organization/accounts/{user_id}", dependencies=[CHANGES])
async def change_account(page: OrganizationPage, database: Db, user_id: Id) -> Response:
    given = await page.form(AccountChange)
    await installation.change(database, user_id, given, page.member)
    page.app.identities.forget()
    return page.done("The account is changed.", HERE)


@router.post("/organization/accounts/{user_id}/password-link", dependencies=[CHANGES])
async def password_link(page: OrganizationPage, database: Db, user_id: Id) -> Response:
    given = await page.form(NewPasswordLink)
    made = await installation.password_link(database, user_id, given, page.member, page.origin)
    return await _shown(page, database, link=made.link)
