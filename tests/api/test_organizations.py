"""Organizations, who is in them as what, and how one gets in."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import httpx2
import pytest

from api.access.roles import Role, Scope
from api.shapes import organizations as shapes_organizations
from tests.api.accounts import api_key, bearer, log_in, organization, serving, user
from tests.api.conform import conforms
from tests.api.operators import shape
from tests.api.plant import Plant

EVA, IDA = "eva@example.org", "ida@example.org"
HERE = "/api/v1/organization"


@pytest.fixture
async def api(database_url: str) -> AsyncIterator[httpx2.AsyncClient]:
    async with serving(database_url) as client:
        yield client


class Person:
    """Somebody who has logged in, perhaps a member."""

    def __init__(self, client: httpx2.AsyncClient, user_id: int, headers: dict[str, str]) -> None:
        self.client, self.user_id, self.headers = client, user_id, headers

    async def __call__(
        self, method: str, path: str, status: int = 200, *, within: str | None = None, **body: Any
    ) -> Any:
        """What the answer has, which must have that status."""
        headers = self.headers | ({"Biogate-Organization": within} if within else {})
        answer = await self.client.request(method, f"/api/v1{path}", headers=headers, json=body or None)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None


async def person(
    client: httpx2.AsyncClient, sql: asyncpg.Connection, email: str, name: str | None = None, role: Role = Role.ADMIN
) -> Person:
    user_id = await user(sql, email, name, role)
    return Person(client, user_id, (await log_in(client, email))["headers"])


async def trail(sql: asyncpg.Connection, name: str) -> list[tuple[str, str, str]]:
    """What was done after the log-ins."""
    rows = await sql.fetch(
        "select who, action, subject from audit join organizations using (organization_id)"
        " where name = $1 and action <> 'log in' order by n",
        name,
    )
    return [tuple(row) for row in rows]


async def test_who_makes_an_organization_is_its_admin(api: httpx2.AsyncClient, database: asyncpg.Connection) -> None:
    eva = await person(api, database, EVA)
    made = await eva("POST", "/organizations", 201, organization="north", title="Plant North")
    assert conforms(shapes_organizations.Membership, made).role == "admin"
    current = conforms(shapes_organizations.Organization, await eva("GET", "/organization"))
    assert (current.organization, current.title, current.role) == ("north", "Plant North", "admin")
    await eva("POST", "/organizations", 409, organization="north", title="Another")
    await eva("POST", "/organizations", 422, organization="North!", title="Another")
    assert await trail(database, "north") == [(EVA, "organization create", "organization/north")]


async def test_one_is_the_admin_of_ten_organizations_at_most(
    api: httpx2.AsyncClient, database: asyncpg.Connection
) -> None:
    eva = await person(api, database, EVA)
    for number in range(10):
        await eva("POST", "/organizations", 201, organization=f"o{number}", title="O")
    await eva("POST", "/organizations", 409, organization="o10", title="O")


async def test_the_header_says_which_of_ones_organizations_and_another_is_not_there(
    api: httpx2.AsyncClient, database: asyncpg.Connection, plant: Plant
) -> None:
    eva = await person(api, database, EVA, "north")
    await user(database, EVA, "south", Role.VIEWER)
    await organization(database, "west")
    await plant.device("br-1")
    await database.execute(
        "update devices set organization_id = (select organization_id from organizations where name = 'south')"
    )
    assert (await eva("GET", "/organization"))["organization"] == "north"
    assert (await eva("GET", "/organization", within="south"))["role"] == "viewer"
    assert (await eva("GET", "/devices"))["devices"] == []
    assert len((await eva("GET", "/devices", within="south"))["devices"]) == 1
    mine = conforms(shapes_organizations.Organizations, await eva("GET", "/organizations"))
    assert [(one.organization, one.role) for one in mine.organizations] == [("north", "admin"), ("south", "viewer")]
    for other in ("west", "none", "Not A Name", "a" * 500, "north'--", "main"):
        await eva("GET", "/organization", 404, within=other)
        await eva("GET", "/devices", 404, within=other)
    key = bearer(await api_key(database, "north"))
    statuses = [
        (await api.get(HERE, headers=key | {"Biogate-Organization": name})).status_code
        for name in ("north", "south", "none")
    ]
    assert statuses == [200, 404, 404]


async def test_an_organization_is_renamed_by_an_admin(api: httpx2.AsyncClient, database: asyncpg.Connection) -> None:
    eva = await person(api, database, EVA, "north")
    assert (await eva("PATCH", "/organization", title="North", why="shorter"))["title"] == "North"
    await eva("PATCH", "/organization", 422, title="North")
    await eva("PATCH", "/organization", 422, title="", why="shorter")
    changed = await eva("PATCH", "/organization", description="Halls 1 to 3\nand 7", contact=EVA, why="asked for")
    shown = conforms(shapes_organizations.Organization, changed)
    assert (shown.title, shown.description, shown.contact) == ("North", "Halls 1 to 3\nand 7", EVA)
    assert (await eva("PATCH", "/organization", description="", why="x"))["contact"] == EVA
    await eva("PATCH", "/organization", 422, why="nothing")
    await eva("PATCH", "/organization", 422, contact="a\nb", why="x")
    assert await trail(database, "north") == [(EVA, "organization change", "organization/north")] * 3
    body = {"organization": "south", "title": "South", "description": "Hall 9", "contact": "ida@example.org"}
    await eva("POST", "/organizations", 201, **body)
    south = await eva("GET", "/organization", within="south")
    assert (south["description"], south["contact"]) == ("Hall 9", "ida@example.org")


# Joining


async def test_an_invitation_lets_so_many_join_in_its_role(
    api: httpx2.AsyncClient, database: asyncpg.Connection
) -> None:
    eva = await person(api, database, EVA, "north")
    made = await eva("POST", "/organization/invitations", 201, role="operator", uses=2)
    invitation = conforms(shapes_organizations.MadeInvitation, made)
    assert re.fullmatch("([A-Z2-7]{4}-){3}[A-Z2-7]{4}", invitation.code)  # 80 bits
    assert invitation.code not in repr(await database.fetch("select * from invitations"))
    listed = await eva("GET", "/organization/invitations")
    conforms(shape("Invitations"), listed)
    assert "code" not in listed["invitations"][0]

    ida, ulf, max_ = [await person(api, database, f"{name}@example.org") for name in ("ida", "ulf", "max")]
    await ida("GET", "/organization", 403)
    joined = await ida("POST", "/organizations/join", 201, code=invitation.code)
    assert conforms(shapes_organizations.Membership, joined).role == "operator"
    assert (await ida("GET", "/organization"))["role"] == "operator"
    await ida("POST", "/organizations/join", 409, code=invitation.code)  # which does not use it up
    assert (await eva("GET", "/organization/invitations"))["invitations"][0]["uses"] == 1
    await ulf("POST", "/organizations/join", 201, code=invitation.code.lower().replace("-", ""))
    await max_("POST", "/organizations/join", 404, code=invitation.code)
    actions = [(who, action) for who, action, _ in await trail(database, "north")]
    assert actions == [(EVA, "invitation create"), (IDA, "member join"), ("ulf@example.org", "member join")]


async def test_an_invitation_can_be_withdrawn_and_expires(
    api: httpx2.AsyncClient, database: asyncpg.Connection
) -> None:
    eva, ida = await person(api, database, EVA, "north"), await person(api, database, IDA)
    first = await eva("POST", "/organization/invitations", 201, role="viewer")
    await eva("DELETE", f"/organization/invitations/{first['invitation_id']}", 204)
    await eva("DELETE", f"/organization/invitations/{first['invitation_id']}", 404)
    await ida("POST", "/organizations/join", 404, code=first["code"])
    second = await eva("POST", "/organization/invitations", 201, role="viewer", expires_in="1h")
    await database.execute(
        "update invitations set expires_at = now() where invitation_id = $1", second["invitation_id"]
    )
    await ida("POST", "/organizations/join", 404, code=second["code"])
    for bad in ({"expires_in": "91d"}, {"expires_in": "1s"}, {"uses": 0}, {"uses": 1001}, {"role": "owner"}):
        await eva("POST", "/organization/invitations", 422, **({"role": "viewer"} | bad))


async def test_codes_cannot_be_guessed_for_long(api: httpx2.AsyncClient, database: asyncpg.Connection) -> None:
    ida = await person(api, database, IDA)
    for number in range(10):
        await ida("POST", "/organizations/join", 404, code=f"AAAA-AAAA-AAAA-AAA{number}")
    await ida("POST", "/organizations/join", 429, code="AAAA-AAAA-AAAA-AAAA")


# Members


async def test_members_are_listed_promoted_and_removed(api: httpx2.AsyncClient, database: asyncpg.Connection) -> None:
    eva = await person(api, database, EVA, "north")
    ida = await person(api, database, IDA, "north", Role.VIEWER)
    await user(database, "other@example.org", "south")
    listed = await eva("GET", "/organization/members")
    conforms(shape("Members"), listed)
    assert [(one["email"], one["role"]) for one in listed["members"]] == [(EVA, "admin"), (IDA, "viewer")]
    await ida("GET", "/organization/members", 403)
    path = f"/organization/members/{ida.user_id}"
    await eva("PATCH", path, 422, role="admin")
    changed = await eva("PATCH", path, role="admin", why="stands in")
    assert conforms(shapes_organizations.Member, changed).role == "admin"
    await ida("GET", "/organization/members")
    await eva("DELETE", f"{path}?why=gone", 204)
    await ida("GET", "/organization/members", 403)
    await eva("DELETE", path, 404)
    assert [action for _, action, _ in await trail(database, "north")] == ["member role", "member remove"]
    assert await database.fetchval("select why from audit order by n desc limit 1") == "gone"


async def test_who_is_demoted_loses_the_invitations_to_that_organization_alone(
    api: httpx2.AsyncClient, database: asyncpg.Connection
) -> None:
    eva = await person(api, database, EVA, "north")
    await user(database, EVA, "south")
    await user(database, IDA, "north")
    ida = await person(api, database, IDA)
    for name in ("north", "south"):
        await eva("POST", "/organization/invitations", 201, within=name, role="viewer")
    await ida("PATCH", f"/organization/members/{eva.user_id}", within="north", role="operator", why="x")
    left = await database.fetch(
        "select o.name, i.uses from invitations i join organizations o using (organization_id) order by 1"
    )
    assert [tuple(row) for row in left] == [("north", 0), ("south", 1)]


async def test_another_organizations_members_are_not_there(
    api: httpx2.AsyncClient, database: asyncpg.Connection
) -> None:
    eva = await person(api, database, EVA, "north")
    other = await user(database, "other@example.org", "south")
    await eva("PATCH", f"/organization/members/{other}", 404, role="viewer", why="mine")
    await eva("DELETE", f"/organization/members/{other}", 404)
    assert await database.fetchval("select role from memberships where user_id = $1", other) == "admin"


async def test_the_last_admin_stays(api: httpx2.AsyncClient, database: asyncpg.Connection) -> None:
    eva = await person(api, database, EVA, "north")
    mine = f"/organization/members/{eva.user_id}"
    await eva("PATCH", mine, 409, role="viewer", why="enough")
    await eva("DELETE", mine, 409)
    await user(database, IDA, "north")
    await eva("DELETE", mine, 204)
    await eva("GET", "/organization", 403)


async def test_whoever_is_a_member_can_leave_and_removes_nobody_else(
    api: httpx2.AsyncClient, database: asyncpg.Connection
) -> None:
    eva = await person(api, database, EVA, "north")
    ida = await person(api, database, IDA, "north", Role.ENGINEER)
    await ida("DELETE", f"/organization/members/{eva.user_id}", 403)
    await ida("DELETE", f"/organization/members/{ida.user_id}", 204)
    assert [who for who, *_ in await trail(database, "north")] == [IDA]


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR, Role.ENGINEER])
async def test_what_is_for_admins_is_refused_to_others(
    api: httpx2.AsyncClient, database: asyncpg.Connection, role: Role
) -> None:
    ida = await person(api, database, IDA, "north", role)
    for method, path in (
        ("PATCH", "/organization"),
        ("GET", "/organization/members"),
        ("PATCH", "/organization/members/1"),
        ("GET", "/organization/invitations"),
        ("POST", "/organization/invitations"),
        ("DELETE", "/organization/invitations/1"),
        ("GET", "/organization/keys"),
        ("POST", "/organization/keys"),
        ("DELETE", "/organization/keys/aaaaaaaaaaaa"),
    ):
        await ida(method, path, 403)


async def test_a_key_that_is_not_for_everything_makes_nobody_a_member(
    api: httpx2.AsyncClient, database: asyncpg.Connection
) -> None:
    """Or it would get, by a person, what it has not."""
    await user(database, EVA, "north")
    ida = await user(database, IDA, "north", Role.VIEWER)
    some = {Scope.ORGANIZATION_READ, Scope.ORGANIZATION_WRITE}
    weak = Person(api, 0, bearer(await api_key(database, "north", scopes=some)))
    strong = Person(api, 0, bearer(await api_key(database, "north")))
    await weak("POST", "/organization/invitations", 403, role="viewer")
    await weak("PATCH", f"/organization/members/{ida}", 403, role="admin", why="why not")
    await strong("POST", "/organization/invitations", 201, role="viewer")
    await strong("PATCH", f"/organization/members/{ida}", 200, role="admin", why="why not")
    await weak("DELETE", f"/organization/members/{ida}", 204)


async def test_lists_come_in_pages_and_as_csv(api: httpx2.AsyncClient, database: asyncpg.Connection) -> None:
    eva = await person(api, database, EVA, "north")
    for number in range(4):
        await user(database, f"p{number}@example.org", "north", Role.VIEWER)
        await eva("POST", "/organization/invitations", 201, role="viewer")
        await api_key(database, "north")
    for name in ("members", "invitations", "keys"):
        whole = (await eva("GET", f"/organization/{name}"))[name]
        first = await eva("GET", f"/organization/{name}?limit=3")
        second = await eva("GET", f"/organization/{name}?limit=3&cursor={first['next']}")
        assert (first["truncated"], second["truncated"]) == (True, False)
        assert first[name] + second[name] == whole
        assert len(whole) == len({str(one) for one in whole}) >= 4
        answer = await api.get(f"{HERE}/{name}.csv", headers=eva.headers)
        assert len(answer.text.splitlines()) == len(whole) + 1
        assert answer.headers["content-type"].startswith("text/csv")
        await eva("GET", f"/organization/{name}?cursor=x", 422)


@pytest.mark.parametrize(
    ("registration", "role", "status"),
    [
        ("auto", Role.ADMIN, 201),
        ("auto", Role.ENGINEER, 403),
        ("invitation", Role.VIEWER, 403),
        ("closed", None, 403),
        ("open", None, 201),
        ("open", Role.VIEWER, 201),
    ],
)
async def test_nobody_gets_more_shares_by_making_organizations(
    database_url: str, database: asyncpg.Connection, registration: str, role: Role | None, status: int
) -> None:
    """Ten of them would have ten shares of places for notifications, live feeds, jobs and connections."""
    await user(database, "ada@example.org", "main")  # from then on `auto` is `invitation`
    await organization(database, "north")
    async with serving(database_url, api_registration=registration) as client:
        eva = await person(client, database, EVA, role and "main", role or Role.VIEWER)
        await user(database, EVA, "north")  # its admin, but not of the installation
        made = await eva("POST", "/organizations", status, organization="more", title="More")
    assert made["organization"] == "more" if status == 201 else "main" in made["detail"]


async def test_before_there_is_an_admin_anybody_begins(api: httpx2.AsyncClient, database: asyncpg.Connection) -> None:
    eva = await person(api, database, EVA)
    await eva("POST", "/organizations", 201, organization="own", title="Own")
