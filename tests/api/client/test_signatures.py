"""Signatures and acts for a second person by the client, with the access tokens of two people."""

from __future__ import annotations

import httpx2
import pytest

from api.access.roles import Role
from biogate import ClientError
from tests.api import alarms
from tests.api.accounts import PASSWORD, log_in, user
from tests.api.client.asker import Asker
from tests.api.plant import Plant

ADA, EVA = "ada@example.org", "eva@example.org"


async def of(ask: Asker, email: str) -> Asker:
    """The same client for a person who has logged in."""
    async with httpx2.AsyncClient(base_url=ask.url) as client:
        return Asker(ask.kind, ask.url, (await log_in(client, email))["access_token"])


async def test_a_rule_is_signed_and_its_closing_confirmed_by_another_person(ask: Asker, plant: Plant) -> None:
    for email in (ADA, EVA):
        await user(plant.sql, email, "main", Role.ENGINEER)
    await alarms.rule(plant.sql, "hot")
    ada, eva = await of(ask, ADA), await of(ask, EVA)
    seen = await ada("record", "rule/hot")
    assert (seen.version, seen.signatures) == (1, ())
    with pytest.raises(ClientError, match="people"):
        await ask("sign", "rule/hot", seen.digest, "reviewed", password=PASSWORD, email=ADA)
    made = await ada("sign", "rule/hot", seen.digest, "reviewed", password=PASSWORD, email=ADA)
    assert (made.who, made.meaning, made.intact) == (ADA, "reviewed", True)
    assert (await eva("record", "rule/hot")).signatures == (made,)
    await plant.sql.execute("insert into policies (organization_id, second_person) values (1, '{deviations}')")
    await plant.sql.execute(
        "insert into deviations (organization_id, year, n, title, severity, opened_by, state)"
        " select 1, 2026, n, 'Too hot', 'major', $1, 'assessed' from generate_series(1, 2) n",
        ADA,
    )
    async with httpx2.AsyncClient(base_url=ask.url, headers={"Authorization": f"Bearer {ada.key}"}) as client:
        for n in (1, 2):
            answer = await client.post(f"/api/v1/deviations/DEV-2026-000{n}/close", json={"why": "done"})
            assert answer.status_code == 202
    second, first = await eva("pending_acts", state="waiting")
    assert (first.subject, first.who, first.state) == ("deviation/DEV-2026-0001", ADA, "waiting")
    done = await eva("confirm", first.id, first.digest, why="checked", password=PASSWORD, email=EVA)
    assert (done.state, done.decided_by) == ("done", EVA)
    assert (await eva("refuse", second.id, why="not yet")).state == "refused"
    assert await plant.sql.fetchval("select array_agg(state order by n) from deviations") == ["closed", "assessed"]
