"""Who may what: each route needs a credential, a role and a scope, or is on the list of those that do not."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from api.access import guard as access
from api.access.roles import ORDER, Role, Scope
from tests.api.questions import ONLY_FIRST, PLAIN, QUESTIONS, SHOWING, asks_for, name, needs, routes
from tests.api.tenants import KINDS
from tests.api.test_isolation import Plantation, arguments, filled, plantation

__all__ = ["plantation"]

PUBLIC = {
    "GET /health",
    "GET /ready",
    "GET /metrics",
    "POST /api/v1/auth/register",
    "POST /api/v1/auth/login",
    "POST /api/v1/auth/refresh",
    "POST /api/v1/auth/reset",
}
WRONG = {
    "no such key": {"Authorization": "Bearer bgk_aaaaaaaaaaaa_wrong"},
    "no token": {"Authorization": "Bearer x.y.z"},
    "no scheme of ours": {"Authorization": "Basic YTpi"},
    "no session": {"Cookie": "__Host-biogate=wrong; biogate=wrong", "Sec-Fetch-Site": "same-origin"},
}


def test_the_questions_are_those_of_the_routes_there_are(plantation: Plantation) -> None:
    assert {name(method, path) for method, path, _ in routes(plantation.app)} == set(QUESTIONS)


def test_each_route_says_what_the_list_says(plantation: Plantation) -> None:
    for method, path, route in routes(plantation.app):
        wanted = QUESTIONS[name(method, path)].needs
        said = needs(route)
        if wanted == "nobody":
            assert name(method, path) in PUBLIC
            assert said == []
            assert not asks_for(route, access._caller), path
        elif wanted in {"member", "caller"}:
            assert said == [], path
            assert asks_for(route, access._member if wanted == "member" else access._caller), path
            assert asks_for(route, access._member) == (wanted == "member"), path
        else:
            assert said == [wanted], f"{method} {path}: {said}, and the list has {wanted}"


async def test_without_credentials_or_with_wrong_ones_there_is_401(plantation: Plantation) -> None:
    alpha = plantation.tenants["alpha"]
    for method, path, _ in routes(plantation.app):
        question = QUESTIONS[name(method, path)]
        body, query, extra = arguments(question, alpha)
        for what, wrong in {"nothing": {}, **WRONG}.items():
            answer, _ = await plantation.ask(method, filled(path, alpha, question), {**wrong, **extra}, body, query)
            if name(method, path) in PUBLIC:
                assert answer.status_code < 500
            else:
                assert answer.status_code == 401, f"{method} {path} with {what}: {answer.status_code} {answer.text}"
                assert answer.headers["www-authenticate"].startswith("Bearer")
                assert answer.headers["content-type"] == "application/problem+json"
    for one in PLAIN:
        assert (await plantation.client.get(one.split()[1])).status_code == 200


@pytest.mark.parametrize("kind", KINDS)
async def test_a_lesser_role_gets_403_and_the_right_one_does_not(plantation: Plantation, kind: str) -> None:
    """The role that a route needs and the one below it ask each route with each kind of credential, new and known; all
    others with one kind."""
    alpha, visits, known = plantation.tenants["alpha"], plantation.visitor("alpha"), dict[object, Mapping[str, str]]()
    for number, (method, path, _) in enumerate(routes(plantation.app)):
        question = QUESTIONS[name(method, path)]
        if not isinstance(question.needs, tuple):
            continue
        body, query, extra = arguments(question, alpha)
        least, scope = question.needs
        for role in sorted(Role, key=lambda role: ORDER[role]):
            near = ORDER[least] - ORDER[role] in {0, 1}
            if not near and KINDS[(number + ORDER[role]) % len(KINDS)] != kind:
                continue
            scopes = frozenset(Scope) if question.stricter else frozenset({scope})
            if near or method not in SHOWING or (role, scopes) not in known:  # others may end what they are called with
                known[role, scopes] = await visits.headers(kind, role, scopes)
            headers = {**(known[role, scopes] if method in SHOWING else known.pop((role, scopes))), **extra}
            for _ in range(2 if method == "GET" and near else 1):  # known callers are answered on a shorter way
                answer, _ = await plantation.ask(method, filled(path, alpha, question), headers, body, query)
            what = f"{method} {path} as {role} with {kind}: {answer.status_code} {answer.text}"
            if not role.covers(least):
                assert answer.status_code == 403, what
                assert str(least) in answer.json()["detail"]
            elif question.stricter and role is not Role.ADMIN:
                assert answer.status_code not in {200, 401}, what
            elif name(method, path) not in ONLY_FIRST and not (question.people and kind == "key"):
                assert answer.status_code not in {401, 403}, what


async def test_a_key_without_the_scope_gets_403(plantation: Plantation) -> None:
    alpha, visits = plantation.tenants["alpha"], plantation.visitor("alpha")
    for method, path, _ in routes(plantation.app):
        question = QUESTIONS[name(method, path)]
        if isinstance(question.needs, tuple):
            body, query, extra = arguments(question, alpha)
            others = frozenset(Scope) - {question.needs[1]}
            headers = {**await visits.headers("key", Role.ADMIN, others), **extra}
            for _ in range(2 if method == "GET" else 1):
                answer, _ = await plantation.ask(method, filled(path, alpha, question), headers, body, query)
            assert answer.status_code == 403, f"{method} {path}: {answer.status_code} {answer.text}"
            if not question.people:
                assert str(question.needs[1]) in answer.json()["detail"]


async def test_what_only_the_first_organization_does_is_403_for_the_admin_of_another(plantation: Plantation) -> None:
    for key in sorted(ONLY_FIRST):
        method, path = key.split()
        for organization in ("main", "alpha"):
            tenant = plantation.tenants[organization]
            body, query, extra = arguments(QUESTIONS[key], tenant)
            headers = {**await plantation.visitor(organization).headers("program"), **extra}
            answer, _ = await plantation.ask(method, filled(path, tenant, QUESTIONS[key]), headers, body, query)
            assert (answer.status_code == 403) == (organization == "alpha"), f"{key}: {answer.text}"
