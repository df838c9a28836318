"""The plant in a browser: who comes in sees it live, and sees when it is not."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta

from playwright.async_api import Browser, expect

from tests.api import alarms
from tests.api.live import Floor
from tests.faults.proxy import Mode, Network
from tests.system.pages.browsing import PHONE, Visitor, visiting
from tests.system.pages.conftest import EVA, Site


async def vessels(site: Site) -> None:
    for name in ("br-1", "br-2"):
        device = await site.plant.device(name)
        channels = "temperature", "ph", "ph_setpoint", "dissolved_oxygen"
        site.plant.devices[name] = device, await site.plant.layout(device, *channels)
        await site.plant.status(device, 1, datetime.now(UTC), True)
    device, _ = site.plant.devices["br-1"]
    await site.plant.event(device, datetime.now(UTC) - timedelta(hours=3), "phase", {"phase": "batch"})
    await site.plant.commit("br-1", 1, 37.0, 7.01, 7.0, 30.0)


async def test_the_right_password_opens_the_plant_and_a_wrong_one_keeps_what_was_typed(
    site: Site, browser: Browser
) -> None:
    await site.person()
    async with visiting(browser, site.address) as eva:
        eva.expected = ["401"]
        await eva.go("/app/main/plant?state=online")
        await expect(eva.page).to_have_url(f"http://{site.address}/login?next=/app/main/plant%3Fstate%3Donline")
        await eva.finds_no_barrier()
        await eva.page.get_by_label("E-mail").fill(EVA)
        await eva.page.get_by_label("Password").fill("wrong password")
        await eva.page.keyboard.press("Enter")
        await expect(eva.page.get_by_role("alert")).to_contain_text(
            "There is no such account, or the password is wrong"
        )
        await expect(eva.page.get_by_label("E-mail")).to_have_value(EVA)
        await expect(eva.page.get_by_label("Password")).to_be_focused()
        await eva.page.keyboard.type("correct horse battery")
        await eva.page.keyboard.press("Enter")
        await expect(eva.page).to_have_url(f"http://{site.address}/app/main/plant?state=online")
        await eva.page.get_by_role("button", name="Log out").click()
        await expect(eva.page).to_have_url(f"http://{site.address}/login")
        await eva.go("/app/main/plant")
        await expect(eva.page.get_by_role("button", name="Log in")).to_be_visible()


async def test_the_log_out_is_in_sight_on_a_small_desk_and_hides_no_page(site: Site, browser: Browser) -> None:
    await site.person()
    small = {"width": 1280, "height": 800}
    async with visiting(browser, site.address, viewport=small) as eva:
        await eva.log_in(EVA)
        leave = eva.page.get_by_role("button", name="Log out")
        await expect(leave).to_be_in_viewport(ratio=1)
        last = eva.page.get_by_role("navigation").get_by_role("link", name="Organization")
        await last.click(trial=True)
        above, below = await last.bounding_box(), await eva.page.locator(".account").bounding_box()
        assert above is not None
        assert below is not None
        assert above["y"] + above["height"] <= below["y"]
        await eva.finds_no_barrier()


async def test_values_are_live_and_an_alarm_comes_by_itself(site: Site, eva: Visitor) -> None:
    await vessels(site)
    device, _ = site.plant.devices["br-1"]
    floor = Floor(site.plant.sql, await alarms.rule(site.plant.sql, "hot", priority="critical"), device)
    await eva.go("/app/main/plant")
    card = eva.page.locator("[data-device=br-1]")
    await expect(card).to_contain_text("batch")
    await expect(card).to_contain_text("3 h 00 min")
    await expect(card.locator("[data-channel=temperature]")).to_contain_text("37.00 °C")
    await expect(eva.page.get_by_text("live", exact=True)).to_be_visible()
    await site.plant.commit("br-1", 2, 38.25, 7.01, 7.0, 30.0)
    await expect(card.locator("[data-channel=temperature]")).to_contain_text("38.25 °C")
    await floor.raised()
    await expect(eva.page.get_by_role("alert")).to_contain_text("br-1 Temperature high")
    await expect(card.get_by_role("img", name="priority 1, critical")).to_be_visible()
    await eva.finds_no_barrier()


async def test_who_loses_the_network_sees_it_and_is_current_again_by_itself(site: Site, browser: Browser) -> None:
    await site.person()
    await vessels(site)
    with Network() as network:
        link = network.link(int(site.address.rpartition(":")[2]))
        async with visiting(browser, f"127.0.0.1:{link.port}") as eva:
            eva.expected = ["ERR_", "WebSocket", "Failed to fetch"]
            await eva.log_in(EVA)
            row = eva.page.locator("[data-device=br-1] [data-channel=temperature]")
            await expect(row).to_contain_text("37.00 °C")
            await asyncio.to_thread(link.set, Mode.CUT)
            await expect(eva.page.locator("#trouble")).to_contain_text("There is no connection")
            await expect(eva.page.locator("body.lost")).to_be_visible()
            await site.plant.commit("br-1", 3, 39.5, 7.01, 7.0, 30.0)
            await asyncio.to_thread(link.set, Mode.PASS)
            await expect(row).to_contain_text("39.50 °C")
            await expect(eva.page.locator("#trouble")).to_be_hidden()


async def test_at_the_size_of_a_phone_nothing_is_cut_off(site: Site, browser: Browser) -> None:
    await site.person()
    await vessels(site)
    async with visiting(browser, site.address, viewport=PHONE, scheme="dark") as eva:
        await eva.log_in(EVA)
        width = await eva.page.evaluate("document.documentElement.scrollWidth")
        assert width <= PHONE["width"]
        await eva.finds_no_barrier()


async def test_without_scripts_who_comes_in_finds_the_vessel_that_is_offline(site: Site, browser: Browser) -> None:
    await site.person()
    await vessels(site)
    device, _ = site.plant.devices["br-2"]
    await site.plant.status(device, 1, datetime.now(UTC) + timedelta(seconds=1), False)
    async with visiting(browser, site.address, java_script_enabled=False) as eva:
        await eva.log_in(EVA)
        await expect(eva.page.locator("article")).to_have_count(2)
        await eva.page.get_by_label("Show").select_option("not online")
        await eva.page.get_by_role("button", name="Show").click()
        await expect(eva.page.locator("article")).to_have_count(1)
        await expect(eva.page.locator("article")).to_contain_text("br-2")


async def test_eight_tabs_at_once_are_all_live(site: Site, eva: Visitor) -> None:
    await vessels(site)
    tabs = [await eva.context.new_page() for _ in range(8)]
    for tab in tabs:
        await tab.goto(f"http://{site.address}/app/main/plant")
    for tab in tabs:
        await tab.bring_to_front()
        await expect(tab.get_by_text("live", exact=True)).to_be_visible()
    await site.plant.commit("br-1", 4, 38.5, 7.01, 7.0, 30.0)
    for tab in tabs:
        await expect(tab.locator("[data-device=br-1] [data-channel=temperature]")).to_contain_text("38.50 °C")


async def test_a_plant_of_fifty_vessels_comes_in_120_kb(site: Site, browser: Browser) -> None:
    now, chance = datetime.now(UTC), random.Random(1)
    channels = "temperature", "ph", "ph_setpoint", "dissolved_oxygen", "agitation", *(f"other_{n}" for n in range(15))
    for number in range(50):
        device = await site.plant.device(f"br-{number:02}")
        layout = await site.plant.layout(device, *channels)
        moments = (now - timedelta(minutes=n) for n in range(120))
        await site.plant.frames(device, layout, [(at, [chance.gauss(37, 5) for _ in channels], None) for at in moments])
    await site.person()
    async with visiting(browser, site.address) as eva:
        await eva.log_in(EVA)
        session = await eva.context.storage_state()
    transferred: list[int] = []
    async with visiting(browser, site.address, storage_state=session) as eva:  # whose browser has kept nothing yet
        wire = await eva.context.new_cdp_session(eva.page)
        await wire.send("Network.enable")
        wire.on("Network.loadingFinished", lambda it: transferred.append(it["encodedDataLength"]))
        wire.on("Network.webSocketFrameReceived", lambda it: transferred.append(len(it["response"]["payloadData"])))
        await eva.go("/app/main/plant")
        await expect(eva.page.locator(".spark:visible")).to_have_count(50)
    assert 20_000 < sum(transferred) < 120 * 1024
