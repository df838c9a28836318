"""An answer that goes on for long ends when who asked for it may not have it any more."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from api.access.roles import Role
from api.queries import audit
from tests.api.accounts import Served, api_key, bearer, log_in, serving, user
from tests.api.plant import Plant
from tests.gateway.material import until

EVA = "eva@example.org"
EVENTS = ("an-early-one", "the-next-one", "the-last-one")
Change = Callable[[Served, asyncpg.Connection], Awaitable[object]]


def told(statement: str) -> Change:
    """What nobody tells the API but the notification that comes with it."""

    async def change(_: Served, sql: asyncpg.Connection) -> None:
        await sql.execute(f"{statement}; select notice_send('biogate_accounts', '')")

    return change


CHANGES: dict[str, tuple[str, Change]] = {
    "role fell": ("program", told("update memberships set role = 'viewer'")),
    "no member any more": ("program", told("delete from memberships")),
    "logged out": ("program", lambda client, _: client.post("/api/v1/auth/logout")),
    "role of the key fell": ("key", told("update api_keys set role = 'viewer'")),
    "scope of the key is gone": ("key", told("update api_keys set scopes = '{devices:read}'")),
    "key ended": ("key", told("update api_keys set ended_at = now()")),
}


@pytest.mark.parametrize("what", CHANGES)
@pytest.mark.parametrize("path", ["/api/v1/audit.csv?action=test", "/api/v1/audit.jsonl?action=test"])
async def test_what_ends_for_who_reads_ends_the_answer(
    database_url: str, plant: Plant, monkeypatch: pytest.MonkeyPatch, path: str, what: str
) -> None:
    kind, change = CHANGES[what]
    parts, told_last = 0, False
    async with serving(database_url, base="http://api") as client:

        async def page(*arguments: Any) -> list[asyncpg.Record]:
            nonlocal parts, told_last
            if changes and told_last:
                parts += 1
                version = client.identities.version
                await change(client, plant.sql)
                await until(lambda: client.identities.version > version)
            rows = await one(*arguments)
            told_last = told_last or any(row["subject"] == EVENTS[-1] for row in rows)
            return rows

        one, changes = audit.page, False
        await user(plant.sql, EVA, "main", Role.OPERATOR)
        key = bearer(await api_key(plant.sql, role=Role.OPERATOR))
        client.headers.update(key if kind == "key" else (await log_in(client, EVA))["headers"])
        await plant.sql.executemany(
            "insert into audit (who, action, subject, why) values ('eva', 'test', $1, 'because')",
            [[event] for event in EVENTS],
        )
        monkeypatch.setattr(audit, "AT_A_TIME", 1)
        monkeypatch.setattr(audit, "page", page)
        assert [event for event in EVENTS if event in (await client.get(path)).text] == list(EVENTS)
        told_last, changes = False, True
        answer = await client.get(path)
        assert parts == 1, "nothing is asked for any more"
        assert [event for event in EVENTS if event in answer.text] == [EVENTS[-1]]
        assert (await client.get(path)).status_code in {401, 403}
