"""Samples and material in a browser: entered on the chart of a vessel, corrected by keyboard, imported from a file."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from tests.system.pages.browsing import PHONE, Visitor, visiting
from tests.system.pages.conftest import EVA, Site

PATHS = (
    "/app/main/samples",
    "/app/main/samples/S-7",
    "/app/main/materials",
    "/app/main/sample-imports",
    "/app/main/material-imports",
)


@pytest.fixture
async def vessel(site: Site) -> Site:
    """A vessel with some minutes of samples."""
    await site.plant.vessel("br-1")
    for n in range(-600, 0, 10):
        await site.plant.commit("br-1", n, 7.0 + n / 1000, 50.0, tell=False)
    return site


async def test_a_sample_is_entered_on_the_chart_and_marked_there(vessel: Site, eva: Visitor) -> None:
    await eva.go("/app/main/vessels/br-1?span=2h&channel=ph")
    page = eva.page
    await page.wait_for_selector("#charts[data-drawn]")
    await page.get_by_text("Sample…").click()
    box = await page.locator(".plot .u-over").first.bounding_box()
    assert box is not None
    await page.mouse.move(box["x"] + box["width"] * 0.95, box["y"] + 20)
    await page.mouse.down()
    await page.mouse.move(box["x"] + box["width"] * 0.98, box["y"] + 20, steps=4)
    await page.mouse.up()
    taken = await page.locator('#sample input[name="taken_at"]').input_value()
    assert taken.endswith("Z"), "the drag entered the time"
    await page.get_by_label("Name (empty").fill("S-7")
    await page.get_by_label("Analyte 1").fill("glucose")
    await page.get_by_label("Value 1").fill("4,2")
    await page.get_by_label("Unit 1").fill("g/L")
    async with page.expect_response(lambda it: "/api/v1/samples" in it.url):
        await page.locator("#sample").get_by_role("button", name="Save").click()
    await expect(page.locator("#said")).to_contain_text("Sample S-7 is saved.")
    await expect(page.locator("#now")).to_contain_text("S-7 glucose 4.2 g/L measured")
    box = await page.locator(".plot .u-over").first.bounding_box()  # what is said above has moved the charts
    assert box is not None
    await page.mouse.move(box["x"] + box["width"] * 0.95, box["y"] + 30, steps=3)
    await expect(page.locator("#at")).to_contain_text("S-7: glucose 4.2 g/L")
    stored = await vessel.plant.sql.fetchval(
        "select to_char(taken_at at time zone 'UTC', 'HH24:MI:SS') from lab_samples"
    )
    assert stored == taken[11:19]
    await eva.finds_no_barrier()
    await eva.picture("samples-vessel")


async def test_the_keyboard_alone_corrects_a_sample(vessel: Site, eva: Visitor) -> None:
    await eva.go("/app/main/samples")
    page = eva.page
    await page.get_by_text("Add a sample…").focus()
    await page.keyboard.press("Enter")
    for label, text in (("Device", "br-1"), ("Name (empty", "S-7"), ("Analyte 1", "glucose"), ("Value 1", "4.2")):
        await page.locator("details[open]").get_by_label(label).focus()
        await page.keyboard.type(text)
    await page.keyboard.press("Enter")
    await expect(page.locator("#samples")).to_contain_text("S-7")
    await page.get_by_role("link", name="S-7").focus()
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/samples/S-7")
    await page.get_by_text("Measure or correct…").focus()
    await page.keyboard.press("Enter")
    await page.get_by_label("Value 1").focus()
    await page.keyboard.press("Control+A")
    await page.keyboard.type("4.6")
    await page.locator("details[open]").get_by_label("Reason").focus()
    await page.keyboard.type("dilution")
    await page.keyboard.press("Enter")
    await expect(page.locator("#said")).to_contain_text("Version 2 of S-7 is saved.")
    await expect(page.locator("#sample")).to_contain_text("dilution")
    acts = await vessel.plant.sql.fetch("select act from lab_samples order by version")
    assert [row["act"] for row in acts] == ["take", "correct"]
    for path in PATHS:
        await eva.go(path)
        await eva.finds_no_barrier()


async def test_a_file_is_looked_at_before_it_is_taken(vessel: Site, browser: Browser, tmp_path: Path) -> None:
    await vessel.person()
    file = tmp_path / "monday.csv"
    file.write_text("sample;device;time;glucose [g/L]\nS-1;br-1;2026-03-01 11:00;4,2\n")
    async with visiting(browser, vessel.address, viewport=PHONE, scheme="dark") as eva:
        await eva.log_in(EVA)
        await eva.go("/app/main/sample-imports")
        page = eva.page
        await page.get_by_label("A CSV file").set_input_files(file)
        await expect(page.locator("#rows")).to_have_value(file.read_text())
        await page.get_by_label("Zone of times").fill("Europe/Berlin")
        await page.get_by_label("Reason").fill("HPLC")
        await page.get_by_role("button", name="Say what would become of it").click()
        await expect(page.locator("#imported")).to_contain_text("This would store: 1 new")
        await eva.finds_no_barrier()
        await page.get_by_role("button", name="Import").click()
        await expect(page.locator("#imported")).to_contain_text("Stored: 1 new")
        wide = await page.evaluate("document.documentElement.scrollWidth > innerWidth")
        assert not wide, "nothing is cut off on a phone"
