"""Holds all that the parts of the application share while it runs, in one object, and gives it as a dependency."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Annotated, Self

from fastapi import Depends
from starlette.requests import HTTPConnection

from api.access.attempts import Attempts
from api.access.guard import COOKIE, INSECURE_COOKIE, AccessServices
from api.access.identity import Identities
from api.access.passwords import Passwords
from api.access.places import Places
from api.database import Server
from api.http.patience import Waiting
from api.jobs.worker import Trials
from api.live.hub import Hub
from api.settings import ApiSettings


@dataclass(frozen=True, kw_only=True)
class Services(AccessServices):
    """Everything that outlives a request. It stands at `app.state.services`."""

    jwt_key: bytes
    """The key that signs access tokens."""
    passwords: Passwords
    attempts: Attempts
    hub: Hub
    trials: Trials
    waiting: Waiting = field(default_factory=Waiting)

    @classmethod
    def of(cls, settings: ApiSettings) -> Self:
        """The services as the settings want them; nothing is opened yet."""
        secret = settings.api_secret_file
        jwt_key = secrets.token_bytes(32) if secret is None else secret.read_bytes().strip()
        server = Server(settings)
        identities = Identities(server.accounts, jwt_key)
        most_live = max(1, settings.api_connections * 3 // 4)  # leaves connections for other requests
        return cls(
            settings=settings,
            server=server,
            identities=identities,
            cookie=INSECURE_COOKIE if settings.api_insecure_cookie else COOKIE,
            origins=frozenset(filter(None, settings.api_cors_origins.split(","))),
            jwt_key=jwt_key,
            passwords=Passwords(settings.api_password_rounds),
            attempts=Attempts(),
            hub=Hub(server, identities, most_live, settings.api_live_feeds),
            trials=Trials(settings),
            streams=Places("streams of tables", max(1, settings.api_connections // 8), settings.api_streams),
        )


async def _services(connection: HTTPConnection) -> Services:  # async: FastAPI would call it in a thread
    found: Services = connection.app.state.services
    return found


App = Annotated[Services, Depends(_services)]
