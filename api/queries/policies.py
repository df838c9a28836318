"""SQL for what an organization demands of its people."""

from __future__ import annotations

import json

import msgspec

from api.access.roles import Principal
from api.database import Database
from api.queries import load, pending_acts
from api.queries.pending_acts import WantedAct
from api.shapes.policies import NewPolicy, PolicyAnswer
from api.shapes.signatures import MEANINGS

SQL = load("policies")


async def one(database: Database) -> PolicyAnswer:
    row = await database.fetchrow(SQL["one"])
    return PolicyAnswer.of(NewPolicy(why="usual").model_dump() if row is None else row)


async def put(database: Database, given: NewPolicy, member: Principal) -> PolicyAnswer:
    """Demand this from now on, of sessions and passwords that there are, too. Raises Waits where it demands less of a
    second person than before, and there is another admin to confirm that."""
    policy = given.model_dump(mode="json", exclude={"why"})
    [row] = await database.fetch(SQL["takes_two"], json.dumps(policy))
    if row[0]:
        before = msgspec.to_builtins(await one(database))
        request = {"policy": policy, "before": before}
        wanted = WantedAct("policy", f"organization/{member.organization}", request, member.who, given.why)
        raise await pending_acts.ask(database, wanted)
    await database.execute(SQL["put"], json.dumps(policy), member.who, given.why)
    return await one(database)


async def meanings(database: Database) -> list[str]:
    """Return what signatures can mean in the organization."""
    return [*MEANINGS, *(await one(database)).meanings]
