"""Deviations, search, the shift log and cards in a browser: without barriers, by mouse and by keyboard alone."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from tests.system.pages.browsing import PHONE, Visitor, visiting
from tests.system.pages.conftest import EVA, Site

FIRST = f"DEV-{datetime.now(UTC).year}-0001"
PAGES = (
    *("deviations", f"deviations/{FIRST}", "search", "search?q=foam", "shift-log", "devices/br-1", "devices-places"),
    "plant",
)


@pytest.fixture
async def records(site: Site) -> None:
    """Something of everything that the pages show."""
    sql = site.plant.sql
    device = await site.plant.device("br-1")
    await site.plant.layout(device, "ph")
    await sql.execute("select set_config('biogate.organization', '1', false)")
    link, member = (
        '{"kind": "device", "reference": "br-1", "type": "seen-in"}',
        f'[{{"who": "{EVA}", "role": "owner"}}]',
    )
    await sql.execute(
        "select api.deviation_open('Foam over', 'It rose.', 'critical', '{foam}', $1, $2, '{}', $3)", member, link, EVA
    )
    await sql.execute("select api.deviation_comment($1, 'The probe was wet.', $2)", FIRST, EVA)
    await sql.execute("select api.deviation_attach($1, 'a.txt', 'text/plain', 'x', 9, $2, 'x')", FIRST, EVA)
    await sql.execute("select api.location_put('Basel', 'site', '', $1, 'x')", EVA)
    card = '{"model": "B", "probes": [{"serial": "E1", "kind": "pH", "due_on": "2026-01-01"}]}'
    await sql.execute("select api.device_card_put('br-1', $1, '2026-01-01', null, $2, 'x')", card, EVA)
    await sql.execute(
        "insert into shift_entries (organization_id, text, who, handed_to) values (1, 'foam', 'x', $1)", EVA
    )


@pytest.mark.usefixtures("records")
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
            for act in await eva.page.locator("main details.act > summary").all():
                await act.click()
            await eva.finds_no_barrier()
            wide = await eva.page.evaluate("document.documentElement.scrollWidth - innerWidth")
            assert wide <= 0, f"{path}: {wide}"


@pytest.mark.usefixtures("records")
async def test_words_are_searched_for_and_a_comment_is_written_by_keyboard_alone(eva: Visitor) -> None:
    await eva.go("/app/main/plant")
    await eva.page.keyboard.press("/")
    await eva.page.keyboard.type("foam ov")
    await eva.page.keyboard.press("Enter")
    found = eva.page.get_by_role("link", name=f"{FIRST}: Foam over")
    await expect(found).to_be_visible()
    await found.focus()
    await eva.page.keyboard.press("Enter")
    field = eva.page.locator("form.fields textarea")
    await field.focus()
    await eva.page.keyboard.type("Antifoam / again.")
    await eva.page.keyboard.press("Tab")
    await eva.page.keyboard.press("Enter")
    await expect(eva.page.locator("article.comment", has_text="Antifoam / again.")).to_be_visible()
    await expect(field).to_have_value("")
    await expect(eva.page.locator("#said")).to_have_text("The comment is saved.")


@pytest.mark.usefixtures("records")
async def test_a_file_is_attached_and_saved_and_a_shift_accepted(eva: Visitor, tmp_path: Path) -> None:
    eva.expected = ["415"]
    await eva.go(f"/app/main/deviations/{FIRST}")
    for name, content, said in (("b.exe", b"MZ\0\0", "This is no PNG"), ("b.png", b"\x89PNG\r\n\x1a\n\r\n--", "")):
        (tmp_path / name).write_bytes(content)
        if not said:
            await eva.page.locator("[type=file]").set_input_files(tmp_path / name)
        else:
            await eva.page.get_by_text("Attach a file…").click()
            await eva.page.locator("[type=file]").set_input_files(tmp_path / name)
            await eva.page.locator("form[enctype] [name=why]").fill("shows it")
        await eva.page.get_by_role("button", name="Attach", exact=True).click()
        if said:
            await expect(eva.page.locator("#problem")).to_contain_text(said)
    async with eva.page.expect_download() as saved:
        await eva.page.get_by_role("link", name="b.png").click()
    assert (await (await saved.value).path()).read_bytes() == b"\x89PNG\r\n\x1a\n\r\n--"
    await eva.go("/app/main/shift-log")
    await eva.page.get_by_role("button", name="Accept the shift").click()
    await expect(eva.page.locator("#entries")).to_contain_text("accepted")
