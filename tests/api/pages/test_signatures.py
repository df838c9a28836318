"""Signatures on the pages of records: signed by a form, shown with each record, broken when what was signed changes."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime

import asyncpg
import pytest

from api.shapes.reports import DOCUMENT
from tests.api import alarms
from tests.api.accounts import PASSWORD
from tests.api.pages.conftest import Visitor
from tests.api.pages.forms import forms
from tests.api.plant import Plant, text

FIRST = f"DEV-{datetime.now(UTC).year}-0001"


@pytest.fixture
async def plant(sql: asyncpg.Connection) -> Plant:
    return Plant(sql)


async def sign(visitor: Visitor, path: str, **more: str) -> str:
    """Sign on a page, without JavaScript; where that leads."""
    [sent] = forms(await visitor.shown(path), "/signatures")
    return await visitor.act("signatures", **sent | {"password": PASSWORD} | more)


async def report(sql: asyncpg.Connection) -> str:
    document = json.dumps(DOCUMENT).encode()
    number = await sql.fetchval(
        "insert into reports (report_id, organization_id, kind, title, subtitle, begins, ends, template,"
        " template_version, made_by, made_at, document, html, no_pdf) values (gen_random_uuid(), 1, 'shift', 'Shift',"
        " '<b>', now(), now(), 'shift', 0, 'x', now(), $1, '<html><body>said </body> twice</body></html>', 'no Pango')"
        " returning report_id",
        document,
    )
    return str(number)


async def test_a_record_is_signed_on_its_page_and_shows_when_it_was_changed_since(
    engineer: Visitor, plant: Plant
) -> None:
    await plant.device("br-1")
    await engineer.act("samples", device="br-1", sample="S-7", taken_at=text(0), analyte_1="glucose", value_1="4.2")
    await engineer.act("deviations", title="Too hot", severity="major")
    await alarms.rule(plant.sql, "hot")
    pages = ["samples/S-7", f"deviations/{FIRST}", "alarm-rules/hot", f"reports/{await report(plant.sql)}"]
    for n, path in enumerate(pages):
        page = await engineer.shown(path)
        assert "Nobody has signed this." in page, path
        [sent] = forms(page, "/signatures")
        assert ("email" in sent) == (n == 0), path  # the first of the session takes both
        first = {"email": engineer.email} if n == 0 else {}
        assert await sign(engineer, path, meaning="approved", **first) == f"/app/main/{path}"
        assert "enno enno@example.org approved 20" in await engineer.words(path), path
        assert " UTC 1 intact" in await engineer.words(path), path
    sent = {"version": "1", "taken_at": text(0), "analyte_1": "glucose", "value_1": "5", "why": "dilution"}
    await engineer.act("samples/S-7", **sent)
    await engineer.act(f"deviations/{FIRST}/comments", text="and cold")
    for path, now in ((pages[0], "; now version 2 (measured)"), (pages[1], "; something was added since")):
        assert f"intact: version 1 was signed{now}; changed at 20" in await engineer.words(path), path
    await plant.sql.execute("alter table lab_analytes disable trigger all; update lab_analytes set value = 7")
    assert "broken: version 1, which was signed, is not as it was; now version 2" in await engineer.words(pages[0])
    assert " 1 intact" in await engineer.words(pages[3])


async def test_forms_that_are_sent_again_or_late_and_wrong_passwords_sign_nothing(
    engineer: Visitor, plant: Plant
) -> None:
    await plant.device("br-1")
    await engineer.act("samples", device="br-1", sample="S-7", taken_at=text(0), note="x")
    [sent] = forms(await engineer.shown("samples/S-7"), "/signatures")
    sent |= {"email": engineer.email, "password": PASSWORD}
    status, said = await engineer.refused("signatures", **sent | {"password": "wrong"})
    assert (status, "nothing is signed" in said) == (422, True)
    await engineer.act("signatures", **sent)
    status, said = await engineer.refused("signatures", **sent)
    assert (status, "have signed sample/S-7 as authored already" in said) == (409, True)
    await engineer.act("samples/S-7/withdraw", why="x")
    status, said = await engineer.refused("signatures", **sent | {"meaning": "reviewed"})
    assert (status, "changed since you read it" in said) == (412, True)
    assert await plant.sql.fetchval("select count(*) from signatures") == 1


async def test_who_may_not_sign_has_no_form_and_who_may_not_decide_no_such_meaning(
    operator: Visitor, viewer: Visitor, plant: Plant
) -> None:
    await plant.device("br-1")
    await operator.act("samples", device="br-1", sample="S-7", taken_at=text(0))
    page = await operator.shown("samples/S-7")
    assert "<option>reviewed</option>" in page
    assert "<option>approved</option>" not in page
    assert forms(await viewer.shown("samples/S-7"), "/signatures") == []


async def test_a_report_is_printed_with_its_signatures(engineer: Visitor, plant: Plant) -> None:
    path = f"reports/{await report(plant.sql)}"
    assert "Nobody has signed this report." in await engineer.words(f"{path}/signed.html")
    await sign(engineer, path, email=engineer.email, meaning="reviewed")
    answer = await engineer.get(f"{path}/signed.html")
    assert "enno@example.org</td><td>reviewed</td>" in answer.text
    assert answer.text.startswith("<html><body>said </body> twice")
    assert "sandbox" in answer.headers["content-security-policy"]
    assert "<b> · " not in await engineer.shown(path)  # the subtitle is text
    found = (await engineer.client.get(f"/api/v1/{path}/signed.json")).json()
    assert found["report"] == DOCUMENT
    assert [(one["name"], one["intact"]) for one in found["signatures"]] == [("enno", True)]


async def test_an_act_waits_on_the_pages_of_its_thing_until_another_person_confirms_it(
    engineer: Visitor, admin: Visitor, plant: Plant
) -> None:
    await plant.device("br-1")
    await engineer.act("samples", device="br-1", sample="S-7", taken_at=text(0), analyte_1="glucose", value_1="4.2")
    [policy] = forms(await admin.shown("organization"), "/organization/policy")
    kinds = "rules,deviations,samples,setpoints"
    to = await admin.act("organization/policy", **policy | {"second_person": kinds, "idle_minutes": "15", "why": "QA"})
    assert to == "/app/main/organization"
    assert "end after 15 min in which nobody does anything" in await admin.words("organization")
    assert "approval of samples" in await viewed(admin, "organization", "Second person")

    to = await engineer.act("samples/S-7/approve", version="1", why="fits")
    assert to == "/app/main/pending-acts/1"
    assert "measured , version 1" in await engineer.words("samples/S-7")
    assert "not done yet: Act 1 , asked for by enno@example.org: fits" in await engineer.words("samples/S-7")
    assert "You have asked for this: another person confirms it." in await engineer.words("pending-acts/1")
    assert forms(await engineer.shown("pending-acts/1"), "/confirm") == []
    setpoint = {"key": "k", "channel": "ph", "value": "7.1", "why": "feeding"}
    told = await engineer.post("vessels/br-1/setpoint", htmx=True, **setpoint)
    assert (told.status_code, "waits for a second person" in told.headers["hx-trigger"]) == (204, True)
    assert "asked for by enno@example.org: feeding" in await engineer.words("vessels/br-1")

    assert "What is done Now Then glucose of S-7: 4.2 measured approved" in await admin.words("pending-acts/1")
    assert "Setpoint of pH of br-1 – 7.1 The device is asked for 1 min" in await admin.words("pending-acts/2")
    assert '"analytes":' in (await viewed(admin, "pending-acts/1", "The request as it is signed"))
    [sent] = forms(await admin.shown("pending-acts/1"), "/confirm")
    sent |= {"email": admin.email, "password": PASSWORD, "why": "checked"}
    assert await admin.act("pending-acts/1/confirm", **sent) == "/app/main/pending-acts/1"
    assert "approved , version 2" in await engineer.words("samples/S-7")
    assert "olga olga@example.org approved 20" in await engineer.words("pending-acts/1")
    assert await admin.act("pending-acts/2/refuse", why="not now") == "/app/main/pending-acts/2"
    listed = await engineer.words("pending-acts")
    assert "setpoints that are sent to devices device/br-1 enno@example.org feeding" in listed
    assert listed.count(" refused olga@example.org") == listed.count(" done olga@example.org") == 1
    assert await plant.sql.fetchval("select count(*) from commands") == 0


async def test_an_account_without_a_password_is_told_to_set_one_and_signs_with_it(
    engineer: Visitor, plant: Plant
) -> None:
    await plant.device("br-1")
    await engineer.act("samples", device="br-1", sample="S-7", taken_at=text(0), note="x")
    await plant.sql.execute("update users set has_password = false")
    page = await engineer.shown("samples/S-7")
    assert forms(page, "/signatures") == []
    assert "your account has no password yet" in page
    [way] = re.findall(r'href="(/app/main/me)#password">Set a password', page)
    [sent] = forms(await engineer.shown(way), "/me/password")
    assert sent.keys() == {"new"}
    await plant.sql.execute("update users set has_password = true")
    assert (await engineer.refused("me/password", new="another horse battery"))[0] == 422
    await plant.sql.execute("update users set has_password = false")
    assert await engineer.act("me/password", new="another horse battery") == "/app/main/me"
    assert "Change the password" in await engineer.shown("me")
    signed = await sign(engineer, "samples/S-7", email=engineer.email, password="another horse battery")
    assert signed == "/app/main/samples/S-7"
    assert await plant.sql.fetchval("select why from audit where action = 'password change'") == "the first one"


async def test_a_second_person_is_given_up_by_two_admins(admin: Visitor, engineer: Visitor, plant: Plant) -> None:
    [policy] = forms(await admin.shown("organization"), "/organization/policy")
    await admin.act("organization/policy", **policy | {"second_person": "samples,rules", "why": "QA"})
    await plant.sql.execute("update memberships set role = 'admin'")
    engineer.client.identities.forget()
    to = await admin.act("organization/policy", **policy | {"second_person": "rules", "why": "too slow"})
    assert to == "/app/main/pending-acts/1"
    assert "not done yet: Act 1 , asked for by olga@example.org: too slow" in await admin.words("organization")
    confirms = "A second person confirms changes of alarm rules, approval of samples changes of alarm rules"
    assert f"What is done Now Then {confirms}" in await engineer.words("pending-acts/1")
    [sent] = forms(await engineer.shown("pending-acts/1"), "/confirm")
    sent |= {"email": engineer.email, "password": PASSWORD, "why": "agreed"}
    await engineer.act("pending-acts/1/confirm", **sent)
    assert await plant.sql.fetchval("select second_person from policies") == ["rules"]


async def viewed(visitor: Visitor, path: str, after: str) -> str:
    return (await visitor.words(path)).split(after, 2)[-1]
