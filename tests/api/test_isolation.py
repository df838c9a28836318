"""Nobody sees or changes what is another organization's, by any route and with any valid credential.

The questions are made from the application's own routes: one that tests/api/questions.py has no example of fails here.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import httpx2
import pytest
from fastapi import FastAPI, Request, Response, WebSocket

from api.access.guard import ORGANIZATION, Db
from api.app import create_app
from api.settings import ApiSettings
from tests.api import live
from tests.api.accounts import quick
from tests.api.questions import ASSETS, ONLY_FIRST, PLAIN, QUESTIONS, SHOWING, SOCKET, Question, name, routes
from tests.api.tables import state
from tests.api.tenants import KINDS, Tenant, Visitor, give, settle
from tests.schema.logins import api_login_url

SEES_ALL = ONLY_FIRST | {
    "GET /api/v1/serials",
    "POST /api/v1/serials/{serial}/block",
    "POST /api/v1/serials/{serial}/unblock",
    "GET /api/v1/enrollment",
    "GET /api/v1/retention/holds",
}
"""The organization that runs the installation may."""


@dataclass
class Plantation:
    app: FastAPI
    client: httpx2.AsyncClient
    sql: asyncpg.Connection
    tenants: dict[str, Tenant]

    def visitor(self, organization: str) -> Visitor:
        return Visitor(self.sql, organization, self.app.state.services.jwt_key, self.app.state.services.cookie)

    async def ask(
        self, method: str, path: str, headers: Mapping[str, str], body: Any = None, query: Mapping[str, str] = {}
    ) -> tuple[httpx2.Response, str]:
        """The answer, and all that was said in the question."""
        if method == SOCKET or path in live.STREAMS:
            answer = await live.glimpse(self.app, method, path, headers, query)
            return answer, f"{answer.request.url} {dict(headers)}"
        content = b"" if body is None else json.dumps(body).encode()
        kind = {"Content-Type": "application/json"} if content else {}
        answer = await self.client.request(method, path, params=query, content=content, headers={**headers, **kind})
        return answer, f"{answer.request.url} {content.decode()} {dict(headers)}"


@pytest.fixture
async def plantation(database_url: str) -> AsyncIterator[Plantation]:
    """`main`, `alpha` and `beta`, each with one of everything; and the API, with a login that can do nothing else."""
    sql = await asyncpg.connect(database_url, max_cacheable_statement_size=0)  # that of tests/api/tables.py is long
    tenants = {name: await settle(sql, name, n) for n, name in enumerate(("main", "alpha", "beta"), 1)}
    async with api_login_url(sql, database_url) as url:
        settings = ApiSettings(
            database_url=database_url,
            api_database_url=url,
            api_rate=0,
            api_anonymous_rate=0,
            api_act_patience=0,
            api_log_level="error",
        )
        app = create_app(quick(settings))
        transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
        async with (
            app.router.lifespan_context(app),
            httpx2.AsyncClient(transport=transport, base_url="http://api") as client,
        ):
            yield Plantation(app, client, sql, tenants)
    await sql.close()


def filled(path: str, tenant: Tenant, question: Question) -> str:
    """The path with the tenant's own objects."""
    return path.format_map(tenant.objects | {"number": tenant.objects[question.number]})


def arguments(question: Question, tenant: Tenant) -> tuple[Any, dict[str, str], dict[str, str]]:
    """Body, query, headers."""
    return (
        None if question.body is None else question.body(tenant),
        {} if question.query is None else question.query(tenant),
        {} if question.headers is None else question.headers(tenant),
    )


TRAILS = ("/api/v1/audit", "/api/v1/evidence")
"""What shows the audit trail."""


@dataclass
class Visit:
    """Members of one organization ask for what is another's, and complain."""

    it: Plantation
    visitor: str
    victim: str
    turn: int | None = None
    """None asks each route for theirs with each kind of credential, new and known. With a number, each route is asked
    with one kind, which is another one for each of three numbers."""
    only: str = ""
    """Routes with this in their path."""
    known: dict[str, Mapping[str, str]] = field(default_factory=dict)
    """Credentials that were good before, by kind."""
    complaints: list[str] = field(default_factory=list)
    exported: str = ""
    """Addresses of exports, which the visitor's own audit trail has as they were asked for."""

    async def all_routes(self) -> list[str]:
        before = await self._state()
        for number, (method, path, _) in enumerate(routes(self.it.app)):
            key = name(method, path)
            if self.only not in path:
                continue
            if key not in QUESTIONS:
                self.complaints.append(f"{key}: has no question in tests/api/questions.py")
            elif self.visitor != "main" or key not in SEES_ALL:
                await self._one(method, path, QUESTIONS[key], number)
                after = await self._state()
                self.complaints += [
                    f"{method} {path}: changed {table}" for table in after if before[table] != after[table]
                ]
                before = after
        return self.complaints

    async def _one(self, method: str, path: str, question: Question, number: int) -> None:
        first, second, third = (KINDS[(number + (self.turn or 0) + n) % 3] for n in range(3))
        for kind in KINDS if self.turn is None else [first]:
            status = await self._ask(method, path, question, kind, self.victim, {})
            may = not (question.people and kind == "key")
            if "{" in path and may and status != question.refusal:
                self.complaints.append(f"{method} {path} as {self.visitor} with {kind}: {status}")
        if not path.endswith("/give") or "main" not in {self.visitor, self.victim}:  # to and from it, that is allowed
            await self._ask(method, path, question, second, self.visitor, {})  # his own, told of theirs
        status = await self._ask(method, path, question, third, self.victim, {ORGANIZATION: self.victim})
        if question.needs not in {"caller", "nobody"} and status != 404:
            self.complaints.append(f"{method} {path} as {self.visitor}, {ORGANIZATION}: {status}")

    async def _credentials(self, kind: str, method: str) -> Mapping[str, str]:
        if self.turn is None or kind not in self.known or method not in SHOWING:  # another may end them
            self.known[kind] = await self.it.visitor(self.visitor).headers(kind)
        return self.known[kind] if method in SHOWING else self.known.pop(kind)

    async def _ask(
        self, method: str, path: str, question: Question, kind: str, whose: str, more: Mapping[str, str]
    ) -> int:
        theirs = self.it.tenants[self.victim]
        body, query, extra = arguments(question, theirs)
        headers = {**await self._credentials(kind, method), **extra, **more}
        where = filled(path, self.it.tenants[whose], question)
        again = method == "GET" and self.turn is None  # known callers are answered on a shorter way
        for _ in range(2 if again else 1):
            answer, said = await self.it.ask(method, where, headers, body, query)
        if answer.status_code == 200 and ("content-disposition" in answer.headers or "jsonl" in path):
            self.exported += f" {answer.request.url}"
        if path.startswith(TRAILS):
            said += self.exported
        shown = sorted(theirs.shown(f"{answer.text} {dict(answer.headers)}", said))
        what = f"{method} {path} as {self.visitor} with {kind}"
        self.complaints += [f"{what}: shows {word}" for word in shown]
        if answer.status_code >= 500:
            self.complaints.append(f"{what}: {answer.status_code}")
        return answer.status_code

    async def _state(self) -> dict[str, str]:
        return await state(self.it.sql, [self.it.tenants[self.victim]])


@pytest.mark.parametrize(
    ("visitor", "victim", "turn"), [("beta", "alpha", None), ("beta", "main", 0), ("main", "alpha", 1)]
)
async def test_no_route_shows_or_changes_what_is_another_organization_s(
    plantation: Plantation, visitor: str, victim: str, turn: int | None
) -> None:
    assert await Visit(plantation, visitor, victim, turn).all_routes() == []


async def test_no_route_shows_or_changes_what_was_one_s_own_and_was_given_away(plantation: Plantation) -> None:
    await give(plantation.sql, plantation.tenants["main"], plantation.tenants["beta"])
    complaints = await Visit(plantation, "main", "beta", 2).all_routes()
    assert [
        one for one in complaints if not any(trail in one for trail in TRAILS)
    ] == []  # the trail of what they did is theirs still


async def test_the_owner_is_shown_his_own_by_every_route_that_shows_anything(plantation: Plantation) -> None:
    """Otherwise the other test would find nothing because there is nothing."""
    alpha, visitor = plantation.tenants["alpha"], plantation.visitor("alpha")
    known = {kind: await visitor.headers(kind) for kind in KINDS}
    for method, path, _ in routes(plantation.app):
        question = QUESTIONS[name(method, path)]
        if method not in SHOWING or name(method, path) in ONLY_FIRST:
            continue
        _, query, extra = arguments(question, alpha)
        for kind in KINDS:
            where = filled(path, alpha, question)
            answer, _ = await plantation.ask(method, where, {**known[kind], **extra}, None, query)
            if not (question.people and kind == "key"):
                assert answer.status_code == question.answered, f"{path} with {kind}: {answer.text}"
                assert bool(alpha.shown(answer.text)) == question.shows, f"{path}: {answer.text}"


async def test_a_leak_a_change_and_an_unknown_route_are_found(plantation: Plantation) -> None:
    """The test can fail."""
    app = plantation.app

    async def leak(request: Request) -> Response:
        async with request.app.state.services.server.connection(
            plantation.tenants["alpha"].organization_id
        ) as connection:
            rows = await connection.fetch("select * from devices")
        return Response(str(rows), headers={"X-Leak": rows[0]["location"]})

    async def change(database: Db, device: str) -> Response:
        await plantation.sql.execute("update devices set tags = '{changed}' where name = $1", device)
        return Response(status_code=404)

    async def encoded(request: Request) -> Response:
        async with request.app.state.services.server.connection(
            plantation.tenants["alpha"].organization_id
        ) as connection:
            return Response(await connection.fetchval("select encode(payload, 'base64') from quarantine"))

    async def socket(websocket: WebSocket) -> None:
        await websocket.accept()
        async with app.state.services.server.connection(plantation.tenants["alpha"].organization_id) as connection:
            await websocket.send_text(str(await connection.fetch("select * from devices")))

    app.add_api_websocket_route("/api/v1/e/socket", socket)
    app.add_api_websocket_route("/api/v1/e/unknown-socket", socket)
    app.add_api_route("/api/v1/e/leak", leak)
    app.add_api_route("/api/v1/e/change/{device}", change)
    app.add_api_route("/api/v1/e/encoded", encoded)
    app.add_api_route("/api/v1/e/unknown", leak)
    more = {f"GET /api/v1/e/{path}": Question("caller") for path in ("leak", "change/{device}", "encoded")}
    more["SOCKET /api/v1/e/socket"] = Question("caller")
    with pytest.MonkeyPatch.context() as patch:
        for key, question in more.items():
            patch.setitem(QUESTIONS, key, question)
        found = await Visit(plantation, "beta", "alpha", only="/api/v1/e/").all_routes()
        turns = [await Visit(plantation, "beta", "alpha", n, only="/api/v1/e/leak").all_routes() for n in range(3)]
    text = "\n".join(found)
    title, location = await plantation.sql.fetchrow(
        "select title, location from devices where name = $1", plantation.tenants["alpha"].known["device"]
    )
    for kind in KINDS:
        assert f"GET /api/v1/e/leak as beta with {kind}: shows {title}" in found, text
        assert f"GET /api/v1/e/leak as beta with {kind}: shows {location}" in found
        assert all(f"GET /api/v1/e/leak as beta with {kind}: shows {location}" in turn for turn in turns)
        assert f"SOCKET /api/v1/e/socket as beta with {kind}: shows {location}" in found
        assert any(line.startswith(f"GET /api/v1/e/encoded as beta with {kind}: shows zqalpha") for line in found)
    assert "GET /api/v1/e/change/{device}: changed devices" in found
    assert "SOCKET /api/v1/e/unknown-socket: has no question in tests/api/questions.py" in found
    assert "GET /api/v1/e/unknown: has no question in tests/api/questions.py" in found


async def test_what_is_for_everyone_shows_nothing_of_anyone(plantation: Plantation) -> None:
    """After somebody has used every route, so that counters and caches have something to show."""
    for tenant in plantation.tenants.values():
        key = await plantation.visitor(tenant.name).headers("key")
        for method, path, _ in routes(plantation.app):
            question = QUESTIONS[name(method, path)]
            _, query, extra = arguments(question, tenant)
            if method in SHOWING:
                await plantation.ask(method, filled(path, tenant, question), {**key, **extra}, None, query)
    public = [one.partition(" ")[2] for one in PLAIN] + [f"{ASSETS}/swagger-ui.css", f"{ASSETS}/none", "/", "/none"]
    for path in (*public, "/health", "/ready", "/metrics"):
        answer = await plantation.client.get(path)
        for tenant in plantation.tenants.values():
            assert not tenant.shown(f"{answer.text} {dict(answer.headers)}"), path
