"""SQL for what an organization demands of its people."""

from __future__ import annotations

from api.database import Database
from api.queries import load
from api.shapes.policies import NewPolicy, PolicyAnswer
from api.shapes.signatures import MEANINGS

SQL = load("policies")


async def one(database: Database) -> PolicyAnswer:
    row = await database.fetchrow(SQL["one"])
    return PolicyAnswer.of(NewPolicy(why="usual").model_dump() if row is None else row)


async def put(database: Database, given: NewPolicy, who: str) -> PolicyAnswer:
    """Demand this from now on, of sessions and passwords that there are, too."""
    await database.execute(SQL["put"], given.model_dump_json(exclude={"why"}), who, given.why)
    return await one(database)


async def meanings(database: Database) -> list[str]:
    """Return what signatures can mean in the organization."""
    return [*MEANINGS, *(await one(database)).meanings]
