"""Tables that are streamed while they are read: each takes a place, and the audit trail says who has copied all of
something."""

from __future__ import annotations

import json
import re
from contextlib import ExitStack

from fastapi import Request

from api.access.attempts import address
from api.access.guard import access_services
from api.access.roles import Principal

BEGINS = re.compile(r"^/(api/v1|app/[^/]+)/")
"""What an address begins with, of the API or of a page."""
NOTE = "select export_note($1, $2, $3)"


def hold(request: Request) -> None:
    """Take a place for a stream until the request has ended, however it ends. Raises TooMany, Busy."""
    held = request.scope["held"] = ExitStack()
    held.enter_context(access_services(request).streams.taken(request.scope["principal"]))


async def note(request: Request) -> None:
    """Count this export, of the address without its parameters: the trail has the 1st, 10th, 100th … of an hour."""
    principal: Principal = request.scope["principal"]
    assert principal.organization_id is not None
    subject = BEGINS.sub("", request.url.path).removesuffix(".csv")
    asked = {name: request.query_params[name] for name in ("from", "to") if name in request.query_params}
    about = asked | {"address": address(request)}
    database = access_services(request).server.of(principal.organization_id, principal.shown)
    await database.execute(NOTE, subject, json.dumps(about), principal.who)
