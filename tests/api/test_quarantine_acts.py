"""What people do with the quarantine over HTTP."""

from __future__ import annotations

import json

import pytest

from api.access.roles import Role
from tests.api.accounts import api_key, bearer
from tests.api.operators import ORDER, Operator
from tests.api.plant import Plant, at
from tests.api.test_enrollments import operator

__all__ = ["operator"]


@pytest.fixture
async def messages(plant: Plant) -> list[int]:
    await plant.device("br-1")
    return [await plant.quarantine(at(n), "br-1", "too-old", b"abc") for n in range(3)]


async def test_a_replay_is_a_job_with_these_messages(plant: Plant, operator: Operator, messages: list[int]) -> None:
    body = ORDER | {"messages": [messages[1], messages[0], messages[1]]}
    answer = await operator.client.post("/api/v1/quarantine-replays", json=body, headers=operator.headers)
    assert (answer.status_code, answer.json()["state"], answer.json()["kind"]) == (202, "queued", "replay")
    job = await operator.client.get(answer.headers["location"], headers=operator.headers)
    assert job.json()["request"] == {"messages": messages[:2], "why": "as the test says"}
    asked = await plant.sql.fetchrow("select who, action, new from audit")
    assert (asked["who"], asked["action"]) == (operator.who, "replay")
    assert json.loads(asked["new"])["why"] == "as the test says"
    for role, status in ((Role.OPERATOR, 403), (Role.ENGINEER, 200)):
        headers = bearer(await api_key(plant.sql, role=role))
        cancelled = await operator.client.post(f"{answer.headers['location']}/cancel", json=ORDER, headers=headers)
        assert cancelled.status_code == status, cancelled.text


async def test_all_messages_that_are_named_are_discarded_or_none(
    plant: Plant, operator: Operator, messages: list[int]
) -> None:
    path = "/quarantine-discards"
    assert (await operator.refused(path, messages=[*messages, 99]))[0] == 404
    assert await operator.post(path, "Discarded", messages=messages[:2]) == {"discarded": 2}
    assert (await operator.refused(path, messages=messages))[0] == 409
    assert (await operator.refused("/quarantine-replays", messages=messages))[0] == 409
    for wrong in ([], [0], ["x"], list(range(1, 1002))):
        assert (await operator.refused(path, messages=wrong))[0] == 422
    states = await plant.sql.fetch("select state from quarantine order by quarantine_id")
    assert [row["state"] for row in states] == ["discarded", "discarded", "open"]
    events = await plant.sql.fetch("select who, action, subject, why from audit order by n")
    assert [tuple(row) for row in events] == [
        (operator.who, "quarantine.discard", f"quarantine/{number}", "as the test says") for number in messages[:2]
    ]
