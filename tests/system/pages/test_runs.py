"""Runs in a browser: made, confirmed by mouse, compared; and by keyboard alone."""

from __future__ import annotations

import re
from datetime import timedelta

from playwright.async_api import expect

from tests.system.pages.browsing import PHONE, Visitor
from tests.system.pages.conftest import Site

MINUTE = timedelta(minutes=1)


async def vessels(site: Site) -> None:
    """Two devices that have sent temperature for an hour, and told of the phase batch."""
    plant = site.plant
    for number in (1, 2):
        device = await plant.device(f"br-{number}")
        layout = await plant.layout(device, "temperature")
        await plant.frames(device, layout, [(plant.now - n * MINUTE, [36.0 + number], None) for n in range(60)])
        await plant.event(device, plant.now - 50 * MINUTE, "phase", {"phase": "batch"})


async def test_a_run_is_made_its_phase_confirmed_and_it_is_compared(site: Site, eva: Visitor) -> None:
    await vessels(site)
    for number in (1, 2):
        await eva.go("/app/main/runs")
        await eva.page.get_by_text("New run…").click()
        if number == 1:
            await eva.finds_no_barrier()
        act = eva.page.locator("details[open]")
        await act.get_by_label("Id").fill(f"B-{number}")
        await act.get_by_label("Devices").fill(f"br-{number}")
        await act.get_by_label("Start").fill("-55m")
        await act.get_by_label("Reason").fill("inoculated")
        await act.get_by_role("button", name="Make").click()
        await expect(eva.page.get_by_role("heading", name=f"Run B-{number}")).to_be_visible()
    await expect(eva.page.locator(".runs canvas")).to_be_visible()
    await eva.finds_no_barrier()
    row = eva.page.get_by_role("row", name=re.compile("^batch"))
    await row.get_by_text("Confirm…").click()
    await row.get_by_label("Reason").fill("seen")
    await row.get_by_role("button", name="Confirm").click()
    await expect(eva.page.locator("#said")).to_have_text("Phase batch is confirmed.")
    await expect(row).to_contain_text("confirmed by eva@example.org")
    await expect(eva.page.locator(".runs canvas")).to_be_visible()
    await eva.page.get_by_role("link", name="Compare").click()
    await eva.page.get_by_label("References of the envelope").fill("B-1, B-2")
    await eva.page.get_by_role("button", name="Show").click()
    await expect(eva.page.get_by_role("row").filter(has_text="B-2")).to_contain_text("100.0 %")
    await expect(eva.page.locator(".runs canvas")).to_be_visible()
    await eva.finds_no_barrier()


async def test_runs_that_are_marked_are_compared_since_inoculation(site: Site, eva: Visitor) -> None:
    await vessels(site)
    for number in (1, 2):
        await site.plant.event(number, site.plant.now - 40 * MINUTE, "phase", {"phase": "inoculation"})
        await site.plant.sql.execute(
            "select run_create(1, $1, array[$2::int], $3, '{}', 'eva', 'x')",
            *(f"B-{number}", number, site.plant.now - 55 * MINUTE),
        )
    await eva.page.get_by_role("link", name="Runs").click()
    await eva.page.get_by_label("Compare B-1").check()
    async with eva.page.expect_response(lambda answer: "/app/main/runs" in answer.url):
        await eva.page.evaluate("document.body.dispatchEvent(new CustomEvent('changed'))")  # the list comes anew
    await eva.page.get_by_label("Compare B-2").check()
    await expect(eva.page.get_by_label("Compare B-1")).to_be_checked()
    await eva.finds_no_barrier()
    await eva.page.get_by_role("button", name="Compare since inoculation").click()
    await expect(eva.page.locator(".runs canvas")).to_be_visible()
    await expect(eva.page.locator("figcaption .key")).to_have_text(["B-2", "B-1"])
    await expect(eva.page.get_by_label("Aligned")).to_have_value("inoculation")


async def test_a_run_is_ended_by_keyboard_alone(site: Site, eva: Visitor) -> None:
    await vessels(site)
    await site.plant.sql.execute(
        "select run_create(1, 'B-1', array[1], $1, '{}', 'eva', 'x')", site.plant.now - 55 * MINUTE
    )
    await eva.go("/app/main/runs/B-1")
    await eva.page.get_by_role("group").filter(has_text="Becomes").locator("summary").focus()
    await eva.page.keyboard.press("Enter")
    await eva.page.keyboard.press("Tab")
    await eva.page.keyboard.type("complete")
    await eva.page.keyboard.press("Tab")
    await eva.page.keyboard.press("Tab")
    await eva.page.keyboard.type("harvested")
    await eva.page.keyboard.press("Enter")
    await expect(eva.page.locator("#said")).to_have_text("Run B-1 is complete.")
    assert await site.plant.sql.fetchval("select state from runs") == "complete"


WHOLE = """() => [...document.querySelectorAll("table th[scope=row], table td, table td a, table th a")]
  .filter((one) => one.offsetParent)
  .flatMap((one) => [...one.childNodes])
  .filter((one) => one.nodeType === Node.TEXT_NODE && /^[^\\s-]{1,24}$/.test(one.textContent.trim()))
  .map((one) => {
    const range = document.createRange();
    range.selectNode(one);
    const lines = new Set([...range.getClientRects()].map((rect) => Math.round(rect.top)));
    return [one.textContent.trim(), lines.size];
  })"""
"""Each name of one word in a table, with the number of lines that it takes."""


async def test_names_in_tables_are_not_broken_by_letters_on_a_phone(site: Site, eva: Visitor) -> None:
    await vessels(site)
    number = await site.plant.device("br-3")
    layout = await site.plant.layout(number, "dissolved_oxygen_setpoint")
    await site.plant.frames(number, layout, [(site.plant.now - n * MINUTE, [40.0], None) for n in range(60)])
    devices = "array(select device_id from devices order by name)"
    begins = site.plant.now - 55 * MINUTE
    await site.plant.sql.execute(f"select run_create(1, 'Batch_2026_041', {devices}, $1, '{{}}', 'eva', 'x')", begins)
    await eva.page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    for path in ("runs", "runs/Batch_2026_041/figures", "vessels/br-3", "devices", "channels", "samples", "deviations"):
        await eva.go(f"/app/main/{path}")
        told = await eva.page.evaluate(WHOLE)
        assert [one for one in told if one[1] > 1] == [], path
        assert told or "runs" not in path, path
    await eva.go("/app/main/runs")
    await expect(eva.page.locator("#runs thead")).to_be_hidden()  # each run is a block of its own
    labels = await eva.page.eval_on_selector_all("#runs td", "all => all.map((one) => one.dataset.label)")
    assert labels == ["Mark", "State", "Devices", "Material", "Strain", "Recipe", "Start", "Hours"]
    await eva.finds_no_barrier()
