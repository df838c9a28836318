"""A vessel in a browser: its charts, the time that they show, and what people do there."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.async_api import Browser, Response, expect

from schema import times
from tests.api import alarms
from tests.api.live import Floor
from tests.roles import forced
from tests.system.pages.browsing import PHONE, Visitor, visiting
from tests.system.pages.conftest import EVA, Site

PATH = "/app/main/vessels/br-1"
CHANNELS = "temperature", "temperature_setpoint", "ph", "agitation"


@pytest.fixture
async def vessel(site: Site) -> Site:
    """A vessel with three hours of samples, one a second apart at their end; a gap, bad ones, phases, and an alarm."""
    plant = site.plant
    device = await plant.device("br-1")
    plant.devices["br-1"] = device, await plant.layout(device, *CHANNELS)
    await plant.status(device, 3, datetime.now(UTC), True)
    for minutes, phase in ((170, "inoculation"), (90, "batch")):
        await plant.event(device, plant.now - timedelta(minutes=minutes), "phase", {"phase": phase})
    await plant.event(device, plant.now - timedelta(minutes=30), "antifoam", {"ml": 2})
    rows: list[tuple[datetime, list[float | None]]] = [
        (plant.now - timedelta(seconds=second), [37 + second % 7 / 100, 37.0, 7.0, 200.0])
        for second in range(10_800, 0, -5)
        if not 6000 < second < 6600
    ]
    marks: list[int | None] = [0, 0, 1, 0]
    doubtful = [(time, values, marks if n % 900 < 60 else None) for n, (time, values) in enumerate(rows)]
    await plant.frames(*plant.devices["br-1"], doubtful)
    await plant.commit("br-1", 1, 37.0, 37.0, 7.01, 200.0)
    floor = Floor(plant.sql, await alarms.rule(plant.sql, "hot", priority="critical"), device)
    await floor.raised()
    return site


async def opened(visitor: Visitor, query: str = "span=2h") -> None:
    await visitor.go(f"{PATH}?{query}")
    await expect(visitor.page.locator("#charts[data-drawn]")).to_be_visible()


async def test_dragging_shows_that_time_and_the_address_opens_the_same(vessel: Site, eva: Visitor) -> None:
    asked: list[dict[str, list[str]]] = []

    def heard(response: Response) -> None:
        if "mode=plot" in response.url:
            asked.append(parse_qs(urlsplit(response.url).query))

    eva.page.on("response", heard)
    await opened(eva)
    await expect(eva.page.locator(".uplot")).to_have_count(3)
    over = eva.page.locator(".u-over").first
    box = await over.bounding_box()
    assert box is not None
    for chart in await eva.page.locator(".u-over").all():
        other = await chart.bounding_box()
        assert other is not None
        assert (other["x"], other["width"]) == (box["x"], box["width"]), "one time axis for all, to the pixel"
    assert asked[0]["max_points"] == [str(round(4 * box["width"]))]
    before = eva.page.url
    await eva.page.mouse.move(box["x"] + box["width"] / 4, box["y"] + 20)
    await eva.page.mouse.down()
    await eva.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 30, steps=4)
    await eva.page.mouse.up()
    await expect(eva.page.locator("#charts")).to_have_attribute("data-drawn", "2")
    shown = parse_qs(urlsplit(eva.page.url).query)
    begin, end = (times.parse_instant(shown[name][0]) for name in ("from", "to"))
    assert abs((end - begin).total_seconds() - 1800) < 30, "a quarter of two hours"
    assert (asked[-1]["from"], asked[-1]["to"]) == (shown["from"], shown["to"]), "it is asked for exactly that time"
    export = await eva.page.locator("[data-file]").first.get_attribute("href")
    assert parse_qs(urlsplit(export or "").query)["from"] == shown["from"]
    await eva.page.reload()
    await expect(eva.page.locator("#charts[data-drawn]")).to_be_visible()
    assert [times.parse_instant(asked[-1][name][0]) for name in ("from", "to")] == [begin, end]
    await eva.page.go_back()
    await expect(eva.page).to_have_url(before)
    await eva.finds_no_barrier()


async def test_the_right_edge_is_live(vessel: Site, eva: Visitor) -> None:
    await opened(eva)
    row = eva.page.locator("[data-now=temperature]")
    await expect(row).to_contain_text("37.00")
    await vessel.plant.commit("br-1", 20, 38.42, 37.0, 7.01, 200.0)
    await expect(row).to_contain_text("38.42")
    await expect(row).to_contain_text("good")
    over = eva.page.locator(".u-over").first
    box = await over.bounding_box()
    assert box is not None
    await eva.page.mouse.move(box["x"] + box["width"] - 1, box["y"] + 40)
    await expect(eva.page.locator("[data-readout=temperature]")).to_contain_text("38.42, set 37.00")
    await expect(eva.page.locator("#at")).to_contain_text("batch")


async def test_an_act_says_what_became_of_it_and_an_error_keeps_what_was_typed(vessel: Site, eva: Visitor) -> None:
    eva.expected = ["412"]
    await opened(eva)
    await eva.page.get_by_text("Set point…").click()
    form = eva.page.locator("form[action$=setpoint]")
    await form.get_by_label("Value").fill("36.5")
    await form.get_by_label("Reason").fill("feeding begins")
    await forced(vessel.plant.sql, "update statuses set online = false")
    await form.get_by_role("button", name="Set").click()
    await expect(eva.page.locator("#problem")).to_contain_text("it is not online")
    await expect(form.get_by_label("Value")).to_have_value("36.5")
    await form.get_by_label("Only if it is online").uncheck()
    await form.get_by_role("button", name="Set").click()
    await expect(eva.page.locator("#said")).to_contain_text("br-1 is asked to set temperature_setpoint to 36.5.")
    await expect(form).to_be_hidden()
    await expect(eva.page.locator("#commands")).to_contain_text("waits for a gateway")
    await vessel.plant.sql.execute("update commands set state = 'done', ended_at = now(), result = '{\"before\": 37}'")
    await expect(eva.page.locator("#commands")).to_contain_text("before 37")
    assert await vessel.plant.sql.fetchval("select count(*) from commands") == 1


async def test_the_keyboard_alone_changes_the_time_and_saves_a_note(vessel: Site, eva: Visitor) -> None:
    await opened(eva)
    page = eva.page
    await page.get_by_role("link", name="24 h").focus()
    await page.keyboard.press("Enter")
    await expect(page).to_have_url(f"http://{eva.address}{PATH}?span=24h")
    await page.get_by_role("button", name="Closer").focus()
    await page.keyboard.press("Enter")
    await expect(page.locator("#charts")).to_have_attribute("data-drawn", "3")
    assert "from=" in page.url
    await page.locator("#note > summary").focus()
    await page.keyboard.press("Enter")
    await page.keyboard.press("Tab")
    await page.keyboard.press("ControlOrMeta+A")
    await page.keyboard.type("-10m")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Tab")
    await page.keyboard.type("Probe changed")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await expect(page.locator("#said")).to_contain_text("The note is saved.")
    await expect(page.locator("#now")).to_contain_text("Probe changed")


async def test_a_drag_while_a_note_is_open_marks_its_time(vessel: Site, eva: Visitor) -> None:
    await opened(eva)
    await eva.page.get_by_text("Note…").click()
    over = eva.page.locator(".u-over").nth(1)
    await over.scroll_into_view_if_needed()
    box = await over.bounding_box()
    assert box is not None
    await eva.page.mouse.move(box["x"] + 100, box["y"] + 20)
    await eva.page.mouse.down()
    await eva.page.mouse.move(box["x"] + 200, box["y"] + 20, steps=3)
    await eva.page.mouse.up()
    form = eva.page.locator("#note form")
    begins, ends = [await form.locator(f"[name={name}]").input_value() for name in ("begins", "ends")]
    lasting = times.parse_instant(ends) - times.parse_instant(begins)
    assert abs(lasting.total_seconds() - 7200 * 100 / box["width"]) < 30
    await expect(form.get_by_label("Note")).to_be_focused()
    assert "from=" not in eva.page.url


async def test_channels_are_chosen_and_stand_in_one_chart(vessel: Site, eva: Visitor) -> None:
    await opened(eva)
    await eva.page.get_by_text("Channels…").click()
    await eva.page.get_by_label("Show Temperature").uncheck()
    await eva.page.get_by_label("Agitation in the chart above").check()
    await eva.page.get_by_role("button", name="Show", exact=True).click()
    await expect(eva.page.locator(".uplot")).to_have_count(1)
    await expect(eva.page.locator("figcaption")).to_contain_text("pH")
    await expect(eva.page.locator("figcaption")).to_contain_text("Agitation")
    assert parse_qs(urlsplit(eva.page.url).query)["span"] == ["2h"]


async def test_the_channels_of_a_vessel_have_no_barriers(vessel: Site, eva: Visitor) -> None:
    await eva.go(f"{PATH}/channels")
    await eva.finds_no_barrier()
    await eva.page.get_by_label("Change temperature", exact=True).click()
    await eva.page.get_by_label("Title").fill("Broth")
    await eva.page.locator("form.fields").get_by_label("Reason").fill("as people say")
    await eva.finds_no_barrier()
    await eva.page.get_by_role("button", name="Change").click()
    await expect(eva.page.locator("#said")).to_contain_text("temperature is changed.")
    await expect(eva.page.locator("[name=version]")).to_have_value("2")  # the form is read anew
    await eva.page.get_by_label("Title").fill("Broth, top")
    await eva.page.locator("form.fields").get_by_label("Reason").fill("as people say")
    await eva.page.get_by_role("button", name="Change").click()
    await expect(eva.page.get_by_label("Title")).to_have_value("Broth, top")
    await expect(eva.page.locator("#problem")).to_be_empty()


async def test_at_the_size_of_a_phone_and_in_the_dark_nothing_is_cut_off(vessel: Site, browser: Browser) -> None:
    await vessel.person()
    async with visiting(browser, vessel.address, viewport=PHONE, scheme="dark") as eva:
        await eva.log_in(EVA)
        await opened(eva, "span=run&axis=hours")
        width = await eva.page.evaluate("document.documentElement.scrollWidth")
        assert width <= PHONE["width"]
        await eva.page.get_by_text("Export…").click()
        await eva.finds_no_barrier()
        await eva.picture("vessel-phone")


async def test_without_scripts_the_table_and_the_forms_work(vessel: Site, browser: Browser) -> None:
    await vessel.person()
    async with visiting(browser, vessel.address, java_script_enabled=False) as eva:
        await eva.log_in(EVA)
        await eva.go(PATH)
        assert "Charts need JavaScript" in await eva.page.content()
        await expect(eva.page.locator("[data-now=temperature]")).to_contain_text("37.00")
        await expect(eva.page.get_by_text("Temperature high").first).to_be_visible()
        await eva.page.get_by_text("Note…").click()
        await eva.page.locator("#note [name=text]").fill("Sample taken")
        await eva.page.get_by_role("button", name="Save").click()
        await expect(eva.page.locator("#now")).to_contain_text("Sample taken")


async def test_who_else_looks_at_the_vessel_is_told(vessel: Site, eva: Visitor, browser: Browser) -> None:
    await vessel.person("otto@example.org")
    await eva.go(PATH)
    lookers = eva.page.locator("#lookers")
    await expect(lookers).to_have_count(0)
    async with visiting(browser, vessel.address) as otto:
        await otto.log_in("otto@example.org")  # whose plant follows all vessels
        await eva.page.reload()
        await expect(lookers).to_have_count(0)
        await otto.go(PATH)
        async with asyncio.timeout(20):
            while not await lookers.count():
                await eva.page.reload()
        await expect(lookers).to_have_text("Also looking at it now: otto@example.org")
        await otto.go("/app/main/plant")
        async with asyncio.timeout(20):
            while await lookers.count():
                await eva.page.reload()
