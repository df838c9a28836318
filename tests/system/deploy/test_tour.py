"""The first hour as docs/tour.md tells it: `make up` in a terminal, and a person at a browser."""

from __future__ import annotations

import asyncio
import re
import signal

from playwright.async_api import expect

from deploy.stack.paths import BIOGATE
from tests.system.deploy.conftest import FLOWING, Up
from tests.system.pages.browsing import Visitor, chromium, visiting

LINK = re.compile(r"http://(\S+)/enter\?code=\S+")


async def test_the_first_hour(up: Up) -> None:
    up.history = "3d"
    up.start()
    await asyncio.to_thread(up.wait_for, "3 enrolled\n")
    link = LINK.search(up.said)
    assert link is not None
    async with chromium() as browser, visiting(browser, link[1]) as eva:
        await eva.page.goto(link[0])
        await a_living_plant(eva)
        await a_run_and_its_report(eva)
        await an_alarm(eva)
        await a_kill(eva, up)
    assert await asyncio.to_thread(up.end, signal.SIGINT) == 0


async def a_living_plant(eva: Visitor) -> None:
    await expect(eva.page.locator("article")).to_have_count(3)
    await expect(eva.page.get_by_text("live", exact=True)).to_be_visible()
    value = eva.page.locator("article").first.locator("[data-channel=temperature] b")
    await expect(value).not_to_have_text("–")
    before = await value.inner_text()
    await expect(value).not_to_have_text(before)
    await eva.page.get_by_role("link", name="sim-0001", exact=True).click()
    await expect(eva.page.locator(".uplot canvas").first).to_be_visible()


async def a_run_and_its_report(eva: Visitor) -> None:
    page = eva.page
    await page.get_by_role("link", name="Reports").click()
    report = page.get_by_role("link", name=re.compile("^Batch report of .* as a page$"))
    await expect(report).to_be_visible(timeout=120_000)
    await report.click()
    await expect(page.get_by_role("heading", name="Batch report")).to_be_visible()
    await eva.picture("report")
    await page.go_back()
    await page.get_by_role("link", name="Runs").click()
    await page.locator("#runs tr").filter(has_text="complete").get_by_role("link").first.click()
    await expect(page.locator(".runs canvas").first).to_be_visible()
    await eva.picture("run")
    await page.get_by_role("link", name="Plant").click()
    await expect(page.locator(".spark:visible")).to_have_count(3)
    await eva.picture("plant")
    await page.get_by_role("link", name="sim-0001", exact=True).click()
    await page.get_by_role("link", name="24 h").click()
    await expect(page.locator("#charts[data-drawn]")).to_be_visible()
    await eva.picture("vessel")


async def an_alarm(eva: Visitor) -> None:
    page = eva.page
    tabs = page.get_by_role("navigation", name="Alarms")
    await page.get_by_role("link", name="Alarms", exact=False).first.click()
    await tabs.get_by_role("link", name="Rules").click()
    await page.get_by_role("link", name="New rule…").click()
    for name, value in (("name", "warm"), ("title", "Warm"), ("limit.channel", "temperature"), ("limit.limit", "25")):
        await page.locator(f'[name="{name}"]').fill(value)
    await page.get_by_role("button", name="Try it").click()
    await expect(page.locator("#trial")).to_contain_text("It would have raised", timeout=60_000)
    await page.locator("form.form").get_by_label("Reason").fill("to try it")
    await page.get_by_role("button", name="Make the rule").click()
    await expect(page.get_by_text("warm, version 1")).to_be_visible()
    await page.get_by_role("link", name="Alarms", exact=False).first.click()
    row = page.locator("#alarms tr.open").filter(has_text="sim-0001")
    await expect(row).to_have_count(1, timeout=60_000)
    await eva.picture("alarms")
    await row.get_by_text("Acknowledge…").click()
    await row.get_by_label("Reason").first.fill("seen on the tour")
    await row.get_by_role("button", name="Acknowledge").click()
    await expect(row).to_have_count(0)
    await tabs.get_by_role("link", name="History").click()
    await expect(page.locator("main")).to_contain_text("seen on the tour")
    await page.get_by_role("link", name="Audit").click()
    await expect(page.locator("main")).to_contain_text("seen on the tour")


async def a_kill(eva: Visitor, up: Up) -> None:
    begun = len(up.said)
    run = await asyncio.create_subprocess_exec(
        *BIOGATE, "restart", "gateway", "--now", "--name", up.paths.name, stdout=asyncio.subprocess.DEVNULL
    )
    assert await run.wait() == 0
    await asyncio.to_thread(up.wait_for, r"gateway ended \(.*\) and was started again")
    await asyncio.to_thread(up.wait_for, FLOWING.pattern, since=begun)
    await eva.page.get_by_role("link", name="Delivery").click()
    await expect(eva.page.locator("main")).to_contain_text("Nothing is missing", ignore_case=True)
