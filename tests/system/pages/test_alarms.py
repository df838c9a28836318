"""Alarms in a browser: seen, acknowledged, shelved; rules tried and saved; who is told."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from playwright.async_api import Browser, Locator, WebSocketRoute, expect

from tests.api.alarms import become, evaluator
from tests.api.live import Floor
from tests.system.pages.browsing import PHONE, Visitor, visiting
from tests.system.pages.conftest import EVA, Site

ALARM = "/app/main/alarms/br-1/temperature-high"


@pytest.fixture
async def acting(site: Site) -> AsyncIterator[None]:
    async with evaluator(site.url):
        yield


def rows(it: Visitor) -> Locator:
    return it.page.locator("#alarms tr.open")


async def test_an_alarm_comes_by_itself_and_is_acknowledged_by_mouse(
    site: Site, floor: Floor, eva: Visitor, acting: None
) -> None:
    await eva.go("/app/main/alarms")
    await expect(eva.page.get_by_text("No alarm stands")).to_be_visible()
    await floor.raised()
    await expect(rows(eva)).to_have_count(1)
    await eva.finds_no_barrier()
    await rows(eva).get_by_text("Acknowledge…").click()
    await rows(eva).get_by_label("Reason").first.fill("seen")
    await rows(eva).get_by_role("button", name="Acknowledge").click()
    await expect(eva.page.locator("#said")).to_have_text("Acknowledge: done for temperature-high of br-1.")
    await expect(rows(eva)).to_have_count(0)
    await expect(eva.page.get_by_role("alert")).to_have_count(0)
    assert await site.plant.sql.fetchval("select state from alarms") == "acknowledged"


async def test_what_was_raised_before_the_feed_began_is_shown(site: Site, floor: Floor, eva: Visitor) -> None:
    is_raised = asyncio.Event()

    async def late(socket: WebSocketRoute) -> None:
        await is_raised.wait()
        socket.connect_to_server()

    await eva.page.route_web_socket(re.compile("/ws/alerts"), late)
    await eva.go("/app/main/alarms")
    await expect(eva.page.get_by_text("No alarm stands")).to_be_visible()
    await floor.raised()
    is_raised.set()
    await expect(rows(eva)).to_have_count(1)  # sooner than the list asks by itself


async def test_an_alarm_is_shelved_by_keyboard_alone_from_its_own_page(
    site: Site, floor: Floor, eva: Visitor, acting: None
) -> None:
    await floor.raised()
    await eva.go(ALARM)
    await eva.finds_no_barrier()
    press, act = eva.page.keyboard.press, eva.page.locator("#alarm details", has_text="Shelve…")
    await expect(eva.page.locator("#shell .banner")).to_be_visible()
    for _ in range(40):
        await press("Tab")
        if await act.locator("summary:focus").count():
            break
    await press("Enter")
    await press("Tab")
    await eva.page.keyboard.type("4 h")
    for _ in range(2):
        await press("Tab")
    await eva.page.keyboard.type("probe is cleaned")
    await press("Enter")
    await expect(eva.page.locator("#alarm dl")).to_contain_text("shelved until")
    await expect(eva.page.locator("#alarm table")).to_contain_text("probe is cleaned")
    left = await site.plant.sql.fetchval("select shelved_until - now() from alarms")
    assert timedelta(hours=3, minutes=58) < left < timedelta(hours=4)


async def test_what_is_typed_stays_while_alarms_come_and_the_banner_acts_in_place(
    site: Site, floor: Floor, eva: Visitor, acting: None
) -> None:
    await floor.raised()
    await eva.go("/app/main/alarms/figures")
    banner = eva.page.locator("#shell .banner")
    await banner.get_by_text("Acknowledge…").click()
    await banner.get_by_label("Reason").fill("on my way")
    await eva.page.evaluate("document.body.dispatchEvent(new CustomEvent('alarms'))")
    await expect(banner.get_by_label("Reason")).to_have_value("on my way")
    await eva.page.keyboard.press("Enter")
    await expect(banner).to_have_count(0)
    assert await site.plant.sql.fetchval("select why from alarm_acts") == "on my way"


async def test_one_that_is_raised_again_is_marked_no_more(site: Site, floor: Floor, eva: Visitor, acting: None) -> None:
    other = await site.plant.device("br-2")
    await floor.raised()
    await become(site.plant.sql, floor.rule, other)
    await eva.go("/app/main/alarms")
    await eva.page.get_by_label("Mark all that are to be acknowledged").check()
    marked = eva.page.locator('input[name="alarm"]:checked')
    await expect(marked).to_have_count(2)
    await floor.normal()
    await floor.raised()
    await expect(marked).to_have_count(1)
    await expect(eva.page.locator("#mark-all")).to_be_focused()
    await eva.page.get_by_text("Acknowledge those marked…").click()
    await eva.page.locator("#marked").get_by_label("Reason").fill("power failure")
    await eva.page.locator("#marked").get_by_role("button").click()
    await expect(rows(eva)).to_have_count(1)
    await expect(rows(eva)).to_contain_text("br-1")


async def test_a_rule_is_tried_drawn_and_saved_and_nothing_typed_is_lost(site: Site, eva: Visitor) -> None:
    eva.expected = ["422", "412"]
    device = await site.plant.device("br-1")
    layout = await site.plant.layout(device, "temperature")
    begin = datetime.now(UTC) - timedelta(hours=1)
    values: list[tuple[datetime, list[float | None], None]] = [
        (begin + timedelta(seconds=n), [39.0 if n % 600 >= 540 else 37.0], None) for n in range(1800)
    ]
    await site.plant.frames(device, layout, values)
    await eva.go("/app/main/alarm-rules")
    await eva.finds_no_barrier()
    page = eva.page
    await expect(page.get_by_label("Formula", exact=True)).to_be_hidden()
    await page.get_by_label("Kind").select_option("A formula over channels")
    await expect(page.locator('[name="formula.expression"]')).to_be_visible()
    await expect(page.locator('[name="limit.limit"]')).to_be_hidden()
    await page.get_by_label("Kind").select_option("A value beyond a limit")
    for name, value in (("name", "hot"), ("title", "Hot"), ("limit.channel", "temperature"), ("limit.limit", "warm")):
        await page.locator(f'[name="{name}"]').fill(value)
    await page.get_by_role("button", name="Try it").click()
    await expect(page.locator("#problem")).to_contain_text("limit")
    await page.locator('[name="limit.limit"]').fill("38")
    await page.get_by_role("button", name="Try it").click()
    await expect(page.locator("#trial")).to_contain_text(
        "It would have raised 3 times in the last 24 h", timeout=60_000
    )
    await expect(page.locator("#trial figure canvas")).to_be_visible()
    await eva.finds_no_barrier()
    await eva.picture("rule")
    await page.locator("form.form").get_by_label("Reason").fill("agreed")
    await page.get_by_role("button", name="Make the rule").click()
    await expect(page.get_by_text("hot, version 1")).to_be_visible()
    changed = await site.plant.sql.fetchval("select alarm_rules.version from alarm_rules")
    await site.plant.sql.execute("update alarm_rules set version = $1", changed + 1)
    await page.get_by_label("Title").fill("Too hot")
    await page.locator("form.form").get_by_label("Reason").fill("clearer")
    await page.get_by_role("button", name="Save").click()
    await expect(page.locator("#problem")).to_contain_text("was changed meanwhile")
    await expect(page.get_by_label("Title")).to_have_value("Too hot")


async def test_every_alarm_page_has_no_barrier_and_fits_a_phone(site: Site, floor: Floor, browser: Browser) -> None:
    await site.person()
    await floor.raised()
    for scheme, size in (("dark", {"viewport": PHONE}), ("light", {})):
        async with visiting(browser, site.address, scheme=scheme, **size) as eva:  # type: ignore[arg-type]
            await eva.log_in(EVA)
            for path in (
                *("alarms", "alarms/history", "alarms/rules", "alarms/notifications", "alarms/figures"),
                *("alarms/br-1/temperature-high", "alarm-rules/temperature-high", "alarm-rules", "alarm-routes"),
            ):
                await eva.go(f"/app/main/{path}")
                await expect(eva.page.locator("#shell .banner")).to_be_visible()
                await eva.finds_no_barrier()
                if size:
                    width = await eva.page.evaluate("document.documentElement.scrollWidth")
                    assert width <= PHONE["width"], path


async def test_without_scripts_an_alarm_is_acknowledged_and_a_rule_saved(
    site: Site, floor: Floor, browser: Browser, acting: None
) -> None:
    await site.person()
    await floor.raised()
    async with visiting(browser, site.address, java_script_enabled=False) as eva:
        await eva.log_in(EVA)
        await eva.go("/app/main/alarms")
        await rows(eva).get_by_text("Acknowledge…").click()
        await rows(eva).get_by_label("Reason").first.fill("seen")
        await rows(eva).get_by_role("button", name="Acknowledge").click()
        await expect(eva.page.locator("#alarms")).to_contain_text("acknowledged")
        await expect(rows(eva)).to_have_count(0)
        await eva.go("/app/main/alarm-rules/temperature-high")
        await eva.page.locator('[name="limit.limit"]').fill("39.5")
        await eva.page.locator("form.form").get_by_label("Reason").fill("agreed")
        await eva.page.get_by_role("button", name="Save").click()
        await expect(eva.page.get_by_text("temperature-high, version 2")).to_be_visible()
    assert await alarms_limit(site) == 39.5


async def alarms_limit(site: Site) -> float:
    return float(await site.plant.sql.fetchval("select definition -> 'when' ->> 'limit' from alarm_rules"))
