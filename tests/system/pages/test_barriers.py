"""Every page that there is, with something of everything on it: without a barrier, and by keyboard alone."""

from __future__ import annotations

import pytest
from playwright.async_api import Browser, expect

from api.pages.page import ORGANIZATION
from tests.api.accounts import PASSWORD
from tests.api.pages.test_every_page import LEADS_ON, address, pages
from tests.api.tenants import Tenant, settle
from tests.system.pages.browsing import PHONE, Visitor, visiting
from tests.system.pages.conftest import EVA, Site

NO_PAGE = {
    *("shell", "evidence", "evidence/verify.py", "alarm-rules.yaml", "alarms/history.csv", "audit.csv"),
    *("enrollment/switch", "audit/verify", "vessels/{device}/now", "vessels/{device}/commands"),
    *(
        f"reports/{{report}}/{name}"
        for name in ("signed.html", "signed.pdf", "report.html", "report.pdf", "report.json")
    ),
    "deviations/{deviation}/attachments/{attachment}",
}
"""Parts of pages, and files."""


@pytest.fixture
async def things(site: Site) -> Tenant:
    return await settle(site.plant.sql, "main", 1)


@pytest.mark.parametrize("look", ["desk", "phone"])
async def test_no_page_that_there_is_has_a_barrier_or_is_wider_than_its_window(
    site: Site, things: Tenant, browser: Browser, look: str
) -> None:
    await site.person()
    size = {"viewport": PHONE} if look == "phone" else {}
    found = {path for method, path, _ in pages(site.app) if method == "GET"}
    assert LEADS_ON not in found
    shown = {path for path in found if path.removeprefix(f"{ORGANIZATION}/") not in NO_PAGE}
    assert len(shown) == len(found) - len(NO_PAGE)
    told = []
    async with visiting(browser, site.address, scheme="dark" if size else "light", **size) as eva:
        await eva.log_in(EVA)
        for path in sorted(shown):
            await eva.go(address(path, "main", things))
            await expect(eva.page.locator("h1")).to_have_count(1)
            for act in await eva.page.locator("main details.act > summary:visible").all():
                await act.evaluate("one => { one.parentElement.open = true; }")
            told += [f"{path}: {one}" for one in await eva.barriers()]
            if (wide := await eva.page.evaluate("document.documentElement.scrollWidth - innerWidth")) > 0:
                told.append(f"{path}: {wide} px wider than its window")
    assert told == []


async def test_a_deviation_is_signed_by_keyboard_alone_and_a_wrong_password_loses_nothing(
    site: Site, things: Tenant, eva: Visitor
) -> None:
    eva.expected = ["403", "422"]
    await eva.go(address(f"{ORGANIZATION}/deviations/{{deviation}}", "main", things))
    signatures = eva.page.locator("#signatures")
    summary, meaning = signatures.locator("summary"), signatures.get_by_label("Meaning")
    await summary.focus()
    await eva.page.keyboard.press("Enter")
    await eva.page.keyboard.press("Tab")
    await expect(meaning).to_be_focused()
    await eva.page.keyboard.type("app")
    await eva.page.keyboard.press("Tab")
    await expect(signatures.get_by_label("Your e-mail address")).to_be_focused()
    await eva.page.keyboard.type(EVA)
    await eva.page.keyboard.press("Tab")
    await eva.page.keyboard.type("a wrong password")
    await eva.page.keyboard.press("Enter")
    await expect(eva.page.locator("#problem [role=alert]")).to_be_visible()
    await expect(meaning).to_have_value("approved")
    await expect(signatures.get_by_label("Your e-mail address")).to_have_value(EVA)
    await eva.page.keyboard.press("Control+A")
    await eva.page.keyboard.type(PASSWORD)
    await eva.page.keyboard.press("Enter")
    await expect(signatures.get_by_role("row").filter(has_text=EVA)).to_contain_text("approved")
    await eva.finds_no_barrier()


async def test_an_exception_of_a_review_is_noted_by_keyboard_alone(things: Tenant, eva: Visitor) -> None:
    await eva.go(address(f"{ORGANIZATION}/reviews/{{review}}", "main", things))
    await eva.page.locator("#review details.act > summary").first.focus()
    await eva.page.keyboard.press("Enter")
    await eva.page.keyboard.press("Tab")
    await eva.page.keyboard.type("seen by keyboard")
    await eva.page.keyboard.press("Enter")
    await expect(eva.page.locator("#review td p").filter(has_text="seen by keyboard")).to_be_visible()
    await eva.finds_no_barrier()


async def test_the_trail_is_verified_by_keyboard_alone(things: Tenant, eva: Visitor) -> None:
    await eva.go(f"/app/{things.name}/audit")
    await eva.page.get_by_role("button", name="Verify").focus()
    await eva.page.keyboard.press("Enter")
    await expect(eva.page.locator("#verified")).to_contain_text("trail")
    await eva.finds_no_barrier()
