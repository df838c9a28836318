"""Forms: what somebody else has changed meanwhile, files that are large, days of the reader's zone, long names."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect

from tests.system.pages.browsing import PHONE, Visitor, visiting
from tests.system.pages.conftest import EVA, Site

LONG = "dissolved_oxygen_of_the_second_probe_below_the_upper_impeller_r2"


Fields = dict[str, str | float | bool]


async def vessel(site: Site, *channels: str) -> None:
    device = await site.plant.device("br-1")
    layout = await site.plant.layout(device, *channels)
    await site.plant.status(device, 1, datetime.now(UTC), True)
    await site.plant.frames(device, layout, [(datetime.now(UTC), [7.125] * len(channels), None)])


async def change(page: Page, address: str, fields: Fields) -> None:
    """As somebody else does in another tab."""
    answer = await page.request.post(address, form=fields, headers={"Sec-Fetch-Site": "same-origin"}, max_redirects=0)
    assert answer.status == 303, await answer.text()


async def test_a_form_that_is_stale_says_what_changed_and_keeps_what_was_typed(site: Site, eva: Visitor) -> None:
    eva.expected = ["412"]
    await vessel(site, "ph")
    path = "/app/main/vessels/br-1/channels/ph"
    await eva.go(path)
    title, low, decimals = (eva.page.get_by_label(name, exact=True) for name in ("Title", "Usual from", "Decimals"))
    await title.fill("Acidity")
    await eva.page.get_by_label("Reason").fill("as the people call it")
    version = await eva.page.locator("input[name=version]").input_value()
    theirs: dict[str, str | float | bool] = {
        "version": version,
        "title": "pH of the broth",
        "decimals": "3",
        "low": "2",
        "high": "12",
    }
    theirs |= {"step": "false", "unit": "pH", "kind": "PV", "why": "calibrated"}
    await change(eva.page, f"http://{site.address}{path}", theirs)
    await eva.page.get_by_role("button", name="Change", exact=True).click()
    problem = eva.page.locator("#problem")
    await expect(problem).to_contain_text("Somebody has changed this meanwhile")
    await expect(problem).to_contain_text("Title was “” and is “pH of the broth”, and you typed “Acidity”")
    await expect(problem).to_contain_text("Decimals was “2” and is “3”")
    await expect(title).to_have_value("Acidity")
    await expect(decimals).to_have_value("3")
    await expect(low).to_have_value("2.0")
    await eva.page.get_by_role("button", name="Change", exact=True).click()
    await expect(eva.page.locator("#said")).to_contain_text("ph is changed")
    row = await site.plant.sql.fetchrow("select title, decimals from channel_descriptions")
    assert tuple(row) == ("Acidity", 3)


async def test_a_large_file_of_serials_is_sent_and_one_that_is_too_large_is_not(
    site: Site, eva: Visitor, tmp_path: Path
) -> None:
    lot, huge = tmp_path / "lot.csv", tmp_path / "huge.csv"
    lot.write_text("serial,device\n" + "".join(f"S-{n:06},br-{n:06}\n" for n in range(30_000)))
    huge.write_bytes(b"serial\n" + b"S-1\n" * 5_000_000)
    await eva.go("/app/main/enrollment/serials")
    await eva.page.get_by_text("Import…").click()
    file = eva.page.get_by_label("A CSV file")
    await file.set_input_files(huge)
    await expect(eva.page.get_by_text("huge.csv has 19.1 MB, and 16 MB are the most: split it.")).to_be_visible()
    await file.set_input_files(lot)
    await expect(eva.page.get_by_text("30,001 lines")).to_be_visible()
    await eva.page.get_by_label("Name of the import").fill("lot 7")
    await eva.page.locator("form[action$=import]").get_by_label("Reason").fill("delivered")
    await eva.page.get_by_role("button", name="Import", exact=True).click()
    await expect(eva.page.locator("#said")).to_contain_text("New serials: 30000; known already: 0.")
    assert await site.plant.sql.fetchval("select count(*) from serials") == 30_000


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/Los_Angeles"])
async def test_yesterday_is_that_of_the_reader(site: Site, browser: Browser, zone: str) -> None:
    await site.person()
    async with visiting(browser, site.address, timezone_id=zone) as eva:
        await eva.log_in(EVA)
        await eva.go("/app/main/delivery")
        await eva.page.get_by_role("link", name="Yesterday").click()
        await expect(eva.page).to_have_url(
            f"http://{site.address}/app/main/delivery/time?tz={zone.replace('/', '%2F')}"
        )
        await expect(eva.page.get_by_text(f"Day, in {zone}")).to_be_visible()
        begin, end = [await one.get_attribute("datetime") for one in await eva.page.locator("h2 time").all()]
        assert begin is not None
        assert end is not None
        begins = datetime.fromisoformat(begin)
        assert await eva.page.evaluate("at => new Date(at).getHours()", begin) == 0
        assert datetime.fromisoformat(end) - begins == timedelta(days=1)
        await eva.page.get_by_label("Day, in").fill("2026-03-05")
        await eva.page.get_by_role("button", name="Show").click()
        await expect(eva.page.locator("h2").first).to_contain_text("5 Mar 2026")


async def test_a_very_long_name_leaves_the_values_in_view(site: Site, browser: Browser) -> None:
    await site.person()
    await vessel(site, LONG, "ph")
    async with visiting(browser, site.address, viewport=PHONE) as eva:
        await eva.log_in(EVA)
        places = {"plant": f"[data-channel={LONG}] b", "vessels/br-1": f"[data-now={LONG}] [data-value]"}
        places["vessels/br-1/channels"] = f"tr:has-text('{LONG}') td:first-of-type"
        for path, place in places.items():
            await eva.go(f"/app/main/{path}")
            value = eva.page.locator(place)
            await expect(value).to_be_visible()
            box = await value.bounding_box()
            assert box is not None
            assert box["x"] + min(box["width"], 80) <= PHONE["width"], path
