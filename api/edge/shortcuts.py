"""Answers the plain questions to the hottest routes without FastAPI's dependencies.

FastAPI resolves the dependencies of a route anew for each request, and of those that guard a device that takes longer
than the query. So a route may have a shortcut: a function that answers the plain question (no parameters, JSON) of a
caller who is known already and has the role and scope that the route's own `allow` asks for. All else goes the usual
way, which is also the one that refuses.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.routing import Match, Route
from starlette.types import Scope

from api.access.guard import access_services
from api.access.roles import Principal
from api.database import Database
from api.http.answers import JSON

Shortcut = Callable[[Request, Database], Awaitable[Response | None]]
Handler = Callable[[Request], Coroutine[Any, Any, Response]]
Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])
ANYTHING = frozenset({b"*/*", JSON.encode()})


def shortcut(short: Shortcut) -> Callable[[Endpoint], Endpoint]:
    """Give a route the shortcut `short`. Where that answers None, the route itself answers."""

    def mark(endpoint: Endpoint) -> Endpoint:
        endpoint.short = short  # type: ignore[attr-defined]
        return endpoint

    return mark


class ShortRoute(APIRoute):
    """The class of routes with shortcuts, for `APIRouter(route_class=…)`."""

    def get_route_handler(self) -> Handler:
        usual: Handler = super().get_route_handler()
        short: Shortcut | None = getattr(self.endpoint, "short", None)
        if short is None or self.path.endswith(".csv"):
            return usual
        found = (getattr(depends.dependency, "needs", None) for depends in self.dependencies)
        needs = [pair for pair in found if pair is not None]
        assert needs, f"{self.path} is not guarded by `allow`"

        async def handle(request: Request) -> Response:
            principal: Principal | None = request.scope.get("principal")
            if (
                principal is not None
                and principal.organization_id is not None
                and principal.role is not None
                and not request.scope["query_string"]
                and all(scope in principal.scopes and principal.role.covers(role) for role, scope in needs)
                and all(value in ANYTHING for name, value in request.scope["headers"] if name == b"accept")
            ):
                answer = await short(request, access_services(request).server.of(principal.organization_id))
                if answer is not None:
                    return answer
            return await usual(request)

        return handle


class Fixed(Route):
    """An answer that is always the same, before all other routes. It stands in for a route that describes it."""

    def __init__(self, path: str, answer: Response) -> None:
        super().__init__(path, answer, methods=["GET"], include_in_schema=False)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, child = super().matches(scope)
        return match, {**child, "route": self} if match is Match.FULL else child
