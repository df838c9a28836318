"""People at a browser: a real Chromium, and what each of its pages must not do."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, async_playwright, expect

from tests.api.accounts import PASSWORD

PROGRAM = Path("/usr/bin/chromium")
DESK, PHONE = {"width": 1400, "height": 900}, {"width": 390, "height": 844}
PATIENCE_MS = 20_000
expect.set_options(timeout=PATIENCE_MS)
WEIGHTY = {"serious", "critical", "moderate"}


class Visitor:
    """Somebody with a browser of their own."""

    def __init__(self, context: BrowserContext, page: Page, address: str) -> None:
        self.context, self.page, self.address = context, page, address
        self.complaints: list[str] = []
        """What the browser has complained of: errors of scripts, and what the policy forbids."""
        self.expected: list[str] = []
        """Texts of complaints that the test wants."""
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", self._console)
        page.set_default_timeout(PATIENCE_MS)

    def _console(self, told: ConsoleMessage) -> None:
        if told.type == "error":
            self.complaints.append(f"{told.text} ({told.location}, on {self.page.url})")

    async def go(self, path: str) -> None:
        await self.page.goto(f"http://{self.address}{path}")

    async def log_in(self, email: str, password: str = PASSWORD) -> None:
        """As a person does: by the form."""
        await self.go("/login")
        await self.page.get_by_label("E-mail").fill(email)
        await self.page.get_by_label("Password").fill(password)
        await self.page.get_by_role("button", name="Log in").click()
        await self.page.wait_for_url("**/app/**")

    async def barriers(self) -> list[str]:
        """What axe finds on this page, but for trifles."""
        found = (await Axe().run(self.page)).response["violations"]
        return [
            f"{one['id']}: {one['help']}: {[node['html'] for node in one['nodes']][:3]}"
            for one in found
            if one["impact"] in WEIGHTY
        ]

    async def finds_no_barrier(self) -> None:
        told = await self.barriers()
        assert not told, "\n".join(told)

    async def picture(self, name: str) -> None:
        """Keep a picture of the page where BIOGATE_TEST_PICTURES says, for the docs."""
        if folder := os.environ.get("BIOGATE_TEST_PICTURES"):
            # To hide the caret would leave style attributes on fields, which htmx copies and the policy forbids.
            await self.page.screenshot(path=f"{folder}/{name}.png", caret="initial")

    def is_content(self) -> None:
        """The browser had nothing to complain of but what was expected."""
        left = [told for told in self.complaints if not any(text in told for text in self.expected)]
        assert not left, left


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=PROGRAM, args=["--no-sandbox"])
        yield browser
        await browser.close()


@asynccontextmanager
async def visiting(
    browser: Browser, address: str, *, scheme: Literal["light", "dark"] = "light", **options: Any
) -> AsyncIterator[Visitor]:
    """Somebody new at that address; the browser's complaints fail the test."""
    context = await browser.new_context(**{"viewport": DESK, "color_scheme": scheme, "locale": "en-GB"} | options)
    visitor = Visitor(context, await context.new_page(), address)
    yield visitor
    visitor.is_content()
    await context.close()
