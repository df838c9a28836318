"""Alarm routes over HTTP: made, changed, tested and removed; and their URLs, which nobody is shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx2
import pytest

from api.access.roles import Role
from gateway.secrets import Secrets, ensure_vault
from schema.sealed import unseal
from tests.api import alarms
from tests.api.accounts import Served, api_key, bearer
from tests.api.conform import conforms
from tests.api.operators import Operator, shape
from tests.api.plant import Plant

WHY = {"why": "as the test says"}
URL = "mailtos://biogate:s3cret@smtp.example.org?to=shift@example.org"


@pytest.fixture
async def admin(plant: Plant, client: Served, secrets_dir: Path) -> Operator:
    await ensure_vault(plant.sql, Secrets.load(secrets_dir))
    return Operator(client, await api_key(plant.sql))


async def put(it: Operator, name: str, headers: dict[str, str] | None = None, /, **body: Any) -> httpx2.Response:
    path = f"/api/v1/alarm-routes/{name}"
    return await it.client.put(path, json=body, params=WHY, headers=it.headers | (headers or {}))


async def delete(it: Operator, name: str) -> httpx2.Response:
    return await it.client.delete(f"/api/v1/alarm-routes/{name}", params=WHY, headers=it.headers)


async def test_a_route_is_made_changed_and_removed(plant: Plant, admin: Operator) -> None:
    made = await put(admin, "shift", url=URL, priorities=["high"])
    assert (made.status_code, made.headers["etag"]) == (201, '"1"'), made.text
    assert (await put(admin, "shift", priorities=["high"])).headers["etag"] == '"1"', "the same again is no change"
    changed = await put(admin, "shift", {"If-Match": '"1"'}, priorities=["low"], time_zone="Europe/Berlin")
    assert (changed.status_code, changed.headers["etag"]) == (200, '"2"')
    assert (await put(admin, "shift", {"If-Match": '"1"'}, priorities=[])).status_code == 412
    assert (await put(admin, "shift", {"If-None-Match": "*"}, url=URL)).status_code == 412
    seen = await admin.get("/alarm-routes/shift", "AlarmRoute")
    assert seen == changed.json()
    assert seen["address"] == "mailtos://smtp.example.org"
    assert seen["definition"]["priorities"] == ["low"]
    assert (await put(admin, "manager", url="slack://T1/B2/s3cret")).json()["address"] == "slack://"
    assert [one["route"] for one in (await admin.get("/alarm-routes", "AlarmRoutes"))["routes"]] == ["manager", "shift"]
    assert (await put(admin, "shift", escalate_after_s=60, escalate_to="manager")).status_code == 200
    assert (await delete(admin, "manager")).status_code == 409, "another one escalates to it"
    gone = await delete(admin, "shift")
    assert gone.status_code == 200
    conforms(shape("AlarmRoute"), gone.json())
    assert await admin.not_shown("/alarm-routes/shift") == 404
    assert (await delete(admin, "shift")).status_code == 404


async def test_nobody_is_shown_the_url_and_only_the_sender_can_open_it(
    plant: Plant, admin: Operator, secrets_dir: Path
) -> None:
    await put(admin, "shift", url=URL)
    await put(admin, "shift", url=URL.replace("smtp", "mail"))
    await delete(admin, "shift")
    answer = await put(admin, "shift", url=URL)
    trail = await admin.client.get("/api/v1/audit.jsonl", headers=admin.headers)
    assert trail.text.count('"subject":"alarm-route/shift"') == 4
    assert "mailtos://mail.example.org" in trail.text
    assert "s3cret" not in answer.text + trail.text
    everything = await plant.sql.fetchval("select string_agg(r::text, '') from alarm_routes r")
    assert b"s3cret".hex() not in everything
    assert "s3cret" not in everything
    sealed = await plant.sql.fetchval("select url from alarm_routes")
    assert unseal(Secrets.load(secrets_dir).vault, sealed, "alarm-routes/1/shift").decode() == URL


UNUSABLE: tuple[tuple[dict[str, Any], str], ...] = (
    ({"url": "file:///etc/s3cret"}, "url"),
    ({"url": "exec://s3cret"}, "url"),
    ({"url": "s3cret"}, "url"),
    ({"url": "json://host/s3cret and more"}, "url"),
    ({"url": URL, "priorities": ["urgent"]}, "priorities.0"),
    ({"url": URL, "hours": [{"days": ["mon"], "begins": "25:00"}]}, "hours.0.begins"),
    ({"url": URL, "hours": [{"days": []}]}, "hours.0.days"),
    ({"url": URL, "time_zone": "../../etc/passwd"}, "time_zone"),
    ({"url": URL, "repeat_after_s": 0}, "repeat_after_s"),
    ({"url": URL, "escalate_to": "other"}, "escalate_after_s"),
    ({"url": URL, "surprise": 1}, "surprise"),
)


async def test_an_organization_has_a_bounded_number_of_routes(plant: Plant, admin: Operator) -> None:
    for number in range(100):
        assert (await put(admin, f"route-{number}", url=URL)).status_code == 201
    refused = await put(admin, "one-more", url=URL)
    assert (refused.status_code, refused.json()["detail"]) == (409, "there are 100 routes already: remove one")
    assert (await put(admin, "route-7", url=URL, priorities=["high"])).status_code == 200
    assert (await delete(admin, "route-8")).status_code == 200
    assert (await put(admin, "one-more", url=URL)).status_code == 201


async def test_what_cannot_be_used_is_refused_with_its_place(plant: Plant, admin: Operator) -> None:
    for body, parameter in UNUSABLE:
        answer = await put(admin, "shift", **body)
        assert answer.status_code == 422, answer.text
        assert parameter in answer.text
        assert "s3cret" not in answer.text
    assert (await put(admin, "shift", url=URL, escalate_after_s=60, escalate_to="shift")).status_code == 409
    assert await plant.sql.fetchval("select count(*) from alarm_routes") == 0


async def test_it_is_for_admins_and_needs_somebody_who_can_open_urls(plant: Plant, client: Served) -> None:
    engineer = Operator(client, await api_key(plant.sql, role=Role.ENGINEER))
    assert (await put(engineer, "shift", url=URL)).status_code == 403
    assert (await client.get("/api/v1/alarm-routes", headers=engineer.headers)).status_code == 403
    nobody = await client.put(
        "/api/v1/alarm-routes/shift", json={"url": URL}, params=WHY, headers=bearer(await api_key(plant.sql))
    )
    assert nobody.status_code == 409
    assert "sealed" in nobody.json()["detail"]


async def test_a_test_is_asked_for_once_at_a_time_and_its_end_is_shown(plant: Plant, admin: Operator) -> None:
    await put(admin, "shift", url=URL)
    await put(admin, "off", url=URL, enabled=False)
    path = "/api/v1/alarm-routes/{}/test"
    for _ in range(2):
        asked = await admin.client.post(path.format("shift"), params=WHY, headers=admin.headers)
        assert (asked.status_code, asked.json()["test"]["state"]) == (202, "waiting")
    assert await plant.sql.fetchval("select count(*) from alarm_notifications") == 1
    await plant.sql.execute("update alarm_notifications set state = 'failed'")
    await plant.sql.execute("update alarm_routes set last_error = 'no answer' where name = 'shift'")
    seen = await admin.get("/alarm-routes/shift", "AlarmRoute")
    assert (seen["test"]["state"], seen["last_error"]) == ("failed", "no answer")
    assert (await admin.client.post(path.format("off"), params=WHY, headers=admin.headers)).status_code == 409
    assert (await admin.client.post(path.format("none"), params=WHY, headers=admin.headers)).status_code == 404


async def test_it_says_how_many_alarms_wait(plant: Plant, admin: Operator) -> None:
    await put(admin, "shift", url=URL)
    device = await plant.device("r1")
    await alarms.become(plant.sql, await alarms.rule(plant.sql, "hot"), device)
    assert (await admin.get("/alarm-routes/shift", "AlarmRoute"))["waiting"] == 1


async def test_a_route_that_escalates_to_one_that_is_off_says_so(plant: Plant, admin: Operator) -> None:
    await put(admin, "manager", url=URL)
    await put(admin, "shift", url=URL, escalate_after_s=600, escalate_to="manager")
    assert (await admin.get("/alarm-routes/shift", "AlarmRoute"))["warnings"] == []
    await put(admin, "manager", enabled=False)
    listed = (await admin.client.get("/api/v1/alarm-routes", headers=admin.headers)).json()["routes"]
    told = {row["route"]: row["warnings"] for row in listed}
    assert told["manager"] == []
    assert "is off" in told["shift"][0]
