"""Enrollment, devices, delivery, activity and audit in a browser, by mouse and by keyboard, without barriers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from playwright.async_api import Browser, Locator, expect

from schema.enrollment import fingerprint
from tests.api.operators import handshake, login_of
from tests.system.pages.browsing import PHONE, Visitor, visiting
from tests.system.pages.conftest import EVA, Site

PAGES = (
    *("enrollment", "enrollment?show=past", "enrollment/serials", "devices", "devices/br-1", "delivery"),
    *("delivery/time?last=24h", "delivery/quarantine", "delivery/quarantine/1", "activity", "audit", "audit/verify"),
)


PAPER = {"width": 718, "height": 1047}
"""A4 with the margins that browsers leave, in CSS pixels."""


@pytest.fixture
async def fleet(site: Site) -> int:
    """Something of everything that the pages show; the number of a device."""
    plant, now = site.plant, datetime.now(UTC)
    device = await plant.device("br-1")
    await plant.status(device, 7, now, True, "2.4.1")
    await plant.event(device, now, "phase", {"phase": "batch"})
    await plant.sql.execute("update devices set title = 'Fermenter 3', tags = '{pilot}' where name = 'br-1'")
    await plant.sql.execute(
        "insert into device_streams (device_id, boot, received, lost) values ($1, 7, '{[0,9),[12,40)}', '{[9,10)}')",
        device,
    )
    layout = await plant.layout(device, "ph")
    await plant.frames(device, layout, [(now, [7.0], None)])
    await login_of(plant.sql, "br-1")
    await plant.quarantine(now, "br-1", "too-old", b'{"t":0,"v":{"ph":7.02}}')
    await plant.quarantine(now, "br-9", "unknown-device", bytes(300))
    await handshake(plant.sql, "S-1")
    await plant.sql.execute("insert into serials (serial, device) values ('S-2', 'br-2')")
    await plant.sql.execute("insert into intake_totals (cell, kind, committed) values ('main', 'frame', 1234)")
    return device


@pytest.mark.usefixtures("fleet")
@pytest.mark.parametrize("look", ["desk", "phone", "dark"])
async def test_no_page_has_a_barrier_or_is_wider_than_its_window(site: Site, browser: Browser, look: str) -> None:
    await site.person()
    size = {"viewport": PHONE} if look == "phone" else {}
    async with visiting(browser, site.address, scheme="dark" if look == "dark" else "light", **size) as eva:
        await eva.log_in(EVA)
        for path in PAGES:
            await eva.go(f"/app/main/{path}")
            await expect(eva.page.locator("h1")).to_have_count(1)
            await eva.page.wait_for_load_state("networkidle")
            await eva.finds_no_barrier()
            wide = await eva.page.evaluate("document.documentElement.scrollWidth - innerWidth")
            assert wide <= 0, f"{path}: {wide}"


@pytest.mark.usefixtures("fleet")
async def test_what_is_printed_fits_on_paper_and_has_nothing_to_press(site: Site, browser: Browser) -> None:
    await site.person()
    async with visiting(browser, site.address, scheme="dark", viewport=PAPER) as eva:
        await eva.log_in(EVA)
        await eva.page.emulate_media(media="print")
        for path in (*PAGES, "plant", "vessels/br-1", "alarms"):
            await eva.go(f"/app/main/{path}")
            await expect(eva.page.locator(".printed")).to_contain_text(f"main · /app/main/{path} · as of")
            for left_out in ("nav", "button", "summary", "a.button", ".filters"):
                await expect(eva.page.locator(left_out).locator("visible=true")).to_have_count(0)
            ground = "getComputedStyle(document.body).backgroundColor"
            assert await eva.page.evaluate(ground) == "rgb(255, 255, 255)", path
            wide = await eva.page.evaluate("document.documentElement.scrollWidth - innerWidth")
            assert wide <= 0, f"{path}: {wide}"


async def choose(eva: Visitor, key: str, wanted: Locator) -> None:
    """Press a key until the wanted element has the focus: nobody has a mouse here."""
    for _ in range(60):
        if await wanted.evaluate("element => element === document.activeElement"):
            return
        await eva.page.keyboard.press(key)
    raise AssertionError(f"{wanted} cannot be reached")


@pytest.mark.usefixtures("fleet")
async def test_a_controller_is_approved_by_keyboard_alone_and_the_list_follows(site: Site, eva: Visitor) -> None:
    eva.expected = ["409"]
    key = fingerprint(await site.plant.sql.fetchval("select identity_key from enrollments"))
    await eva.go("/app/main/enrollment")
    await choose(eva, "Tab", eva.page.locator("summary", has_text="Approve"))
    await eva.page.keyboard.press("Enter")
    await eva.page.keyboard.press("Tab")
    await expect(eva.page.get_by_label("Fingerprint on its display")).to_be_focused()
    await eva.page.keyboard.type("AAAA BBBB CCCC")
    await eva.page.keyboard.press("Tab")
    await eva.page.keyboard.type("br-5")
    await eva.page.keyboard.press("Tab")
    await eva.page.keyboard.type("as on its display")
    await eva.page.keyboard.press("Enter")
    await expect(eva.page.get_by_role("alert")).to_contain_text("nothing was approved")
    field = eva.page.get_by_label("Fingerprint on its display")
    await expect(field).to_have_value("AAAA BBBB CCCC")
    await field.fill(key.lower())
    await eva.page.keyboard.press("Enter")
    await expect(eva.page.locator("#said")).to_contain_text("S-1 may enroll, as the device br-5.")
    await expect(eva.page.locator("#handshakes")).to_contain_text("No controller waits.")
    assert await site.plant.sql.fetchval("select state from enrollments") == "approved"


@pytest.mark.usefixtures("fleet")
async def test_an_import_shows_its_bad_rows_and_takes_a_file(site: Site, eva: Visitor) -> None:
    eva.expected = ["422"]
    await eva.go("/app/main/enrollment/serials")
    await eva.page.get_by_text("Import…").click()
    form = eva.page.locator("form", has=eva.page.get_by_label("Name of the import"))
    await form.get_by_label("Name of the import").fill("lot 7")
    file = {"name": "lot.csv", "mimeType": "text/csv", "buffer": b"serial,device\nS-8,br-8\nS 9,\n"}
    await form.get_by_label("A CSV file").set_input_files(file)  # type: ignore[arg-type]
    await expect(form.get_by_label("Rows")).to_have_value("serial,device\nS-8,br-8\nS 9,\n")
    await form.get_by_label("Reason").fill("delivered")
    await form.get_by_role("button", name="Import").click()
    await expect(eva.page.locator("#problem")).to_contain_text("line 3: serial 'S 9'")
    await form.get_by_label("Rows").fill("serial,device\nS-8,br-8\n")
    await form.get_by_role("button", name="Import").click()
    await expect(eva.page.locator("#said")).to_contain_text("New serials: 1; known already: 0.")
    await expect(eva.page.locator("#serials")).to_contain_text("br-8")


@pytest.mark.usefixtures("fleet")
async def test_a_device_is_changed_and_suspended_where_one_reads_of_it(site: Site, eva: Visitor) -> None:
    await eva.go("/app/main/devices")
    await eva.page.get_by_role("link", name="br-1").click()
    await expect(eva.page.locator("#delivery")).to_contain_text("missing: the device is asked for them")
    await eva.page.get_by_text("Change…").click()
    await eva.page.get_by_label("Place, the larger first").fill("Hall 2/Bay 4")
    await eva.page.locator("details[open]").get_by_label("Reason").fill("moved")
    await eva.page.get_by_role("button", name="Save").click()
    await expect(eva.page.locator("#device")).to_contain_text("Hall 2/Bay 4")
    await eva.page.get_by_text("Suspend…").click()
    await eva.page.locator("details[open]").get_by_label("Reason").fill("a probe is changed")
    await eva.page.get_by_role("button", name="Suspend br-1").click()
    await expect(eva.page.get_by_text("Resume…")).to_be_visible()
    assert await site.plant.sql.fetchval("select state from devices") == "suspended"


@pytest.mark.usefixtures("fleet")
async def test_chosen_messages_are_replayed_or_discarded(site: Site, eva: Visitor) -> None:
    await eva.go("/app/main/delivery")
    await eva.page.get_by_role("link", name="messages in quarantine").click()
    await eva.page.get_by_label("Choose message 1", exact=True).check()
    await eva.page.get_by_label("Reason", exact=True).and_(eva.page.locator("input")).fill("noise")
    await eva.page.get_by_role("button", name="Discard those chosen").click()
    await expect(eva.page.locator("#said")).to_contain_text("1 message discarded.")
    await expect(eva.page.get_by_label("Choose message 1", exact=True)).to_have_count(0)
    await eva.page.get_by_label("Choose message 2", exact=True).check()
    await eva.page.get_by_label("Reason", exact=True).and_(eva.page.locator("input")).fill("registered since")
    await eva.page.get_by_role("button", name="Replay those chosen").click()
    await expect(eva.page.locator("#replays")).to_contain_text("queued")
    await site.plant.sql.execute(
        "update jobs set state = 'done', finished_at = now(),"
        """ result = '{"stored": 1, "rejected": 0, "not_open": 0, "reasons": []}'"""
    )
    await expect(eva.page.locator("#replays")).to_contain_text("1 stored")
    rows = await site.plant.sql.fetch("select state from quarantine order by quarantine_id")
    assert [row["state"] for row in rows] == ["discarded", "open"]


async def test_whether_anything_of_yesterday_is_missing_is_told_in_two_clicks(site: Site, eva: Visitor) -> None:
    device = await site.plant.device("br-1")
    noon = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=1)
    layout = await site.plant.layout(device, "ph")
    for seq in (0, 3):
        await site.plant.sql.execute(
            "insert into frames (time, device_id, layout_id, boot, seq, received_at, values)"
            " values ($1, $2, $3, 1, $4, $1, '{7}')",
            *(noon + timedelta(minutes=seq), device, layout, seq),
        )
    await site.plant.sql.execute(
        "insert into device_streams (device_id, boot, received) values ($1, 1, '{[0,1),[3,4)}')", device
    )
    await eva.go("/app/main/devices")
    await eva.page.get_by_role("link", name="Delivery").click()
    await eva.page.get_by_role("link", name="Yesterday").click()
    await expect(eva.page.locator(".answer")).to_contain_text("2 of 4 frames are missing.")


async def test_what_happens_appears_by_itself(site: Site, eva: Visitor) -> None:
    device = await site.plant.device("br-1")
    await eva.go("/app/main/activity")
    await expect(eva.page.locator("#activity")).to_contain_text("log in")
    await site.plant.status(device, 9, datetime.now(UTC), True, "3.1.4")
    await site.plant.tell('["status"]')
    await expect(eva.page.locator("#activity")).to_contain_text("firmware 3.1.4")


async def test_the_trail_is_verified_by_a_button(site: Site, eva: Visitor) -> None:
    await eva.go("/app/main/audit")
    await eva.page.get_by_role("button", name="Verify").click()
    await expect(eva.page.locator("#verified")).to_contain_text("The trail is as it was written.")
    async with eva.page.expect_download() as copied:
        await eva.page.get_by_role("link", name="Copy as CSV").click()
    assert (await copied.value).suggested_filename == "audit.csv"


@pytest.mark.usefixtures("fleet")
@pytest.mark.parametrize("path", ["delivery", "devices"])
async def test_a_list_that_lives_keeps_the_focus_where_it_is(site: Site, eva: Visitor, path: str) -> None:
    await eva.go(f"/app/main/{path}")
    link = eva.page.locator("main table").get_by_role("link", name="br-1").first
    await link.focus()
    await site.plant.sql.execute("update device_streams set received = '{[0,9),[14,50)}'")
    await eva.page.evaluate("document.body.dispatchEvent(new CustomEvent('changed'))")
    await expect(eva.page.locator("main table").last).to_contain_text("4 missing" if path == "devices" else "10 to 13")
    await expect(link).to_be_focused()
