"""Links, the organization and a person's own pages in a browser."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from playwright.async_api import Browser, expect

from api.access.roles import Role
from api.access.tokens import code_hash
from tests.system.pages.browsing import PHONE, Visitor, visiting
from tests.system.pages.conftest import EVA, Site


async def test_a_link_of_a_start_opens_the_plant_logged_in_and_works_once(site: Site, browser: Browser) -> None:
    await site.person()
    await site.plant.sql.execute(
        "select log_in_link_make(user_id, $1, now() + $2, 'olga', 'first start') from users",
        *(code_hash("CODE"), timedelta(hours=1)),
    )
    async with visiting(browser, site.address) as eva:
        await eva.go("/enter?code=CODE")
        await expect(eva.page.get_by_role("heading", name="Plant")).to_be_visible()
    async with visiting(browser, site.address) as other:
        other.expected = ["404"]
        await other.go("/enter?code=CODE")
        await expect(other.page.get_by_role("alert")).to_contain_text("was used before")


async def test_who_has_forgotten_the_password_sets_a_new_one_by_a_link(site: Site, browser: Browser) -> None:
    await site.person()
    await site.plant.sql.execute(
        "select password_reset_make(user_id, $1, now() + $2, 'olga', 'forgotten') from users",
        *(code_hash("CODE"), timedelta(hours=1)),
    )
    async with visiting(browser, site.address) as eva:
        await eva.go("/reset#CODE")
        await eva.finds_no_barrier()
        await eva.page.get_by_label("New password").fill("another horse battery")
        await eva.page.get_by_label("The same again").fill("yet another")
        await eva.page.keyboard.press("Enter")
        await expect(eva.page.get_by_role("status")).to_have_text("The two are not the same.")
        await eva.page.get_by_label("The same again").fill("another horse battery")
        await eva.page.keyboard.press("Enter")
        await expect(eva.page.get_by_role("status")).to_contain_text("The password is set")
        await eva.page.get_by_role("link", name="Log in").click()
        await eva.log_in(EVA, "another horse battery")


async def test_an_admin_invites_by_keyboard_alone_and_who_is_invited_comes_in(
    site: Site, browser: Browser, eva: Visitor
) -> None:
    await eva.go("/app/main/organization")
    await eva.finds_no_barrier()
    heading = eva.page.get_by_role("heading", name="What it demands")
    assert await heading.evaluate("one => getComputedStyle(one).marginTop") == "0px", "as in panels that stay"
    await eva.page.get_by_role("group").filter(has_text="Invite").locator("summary").focus()
    await eva.page.keyboard.press("Enter")
    await eva.page.keyboard.press("Tab")
    await eva.page.keyboard.type("operator")
    for _ in range(4):
        await eva.page.keyboard.press("Tab")
    await expect(eva.page.get_by_role("button", name="Make a link")).to_be_focused()
    await eva.page.keyboard.press("Enter")
    link = await eva.page.get_by_role("status").filter(has_text="shown this once").locator("pre").inner_text()
    async with visiting(browser, site.address, viewport=PHONE) as ina:
        await ina.page.goto(link)
        await ina.finds_no_barrier()
        await ina.page.get_by_label("E-mail").fill("ina@example.org")
        await ina.page.get_by_label("Name").fill("Ina")
        await ina.page.get_by_label("Password").fill("a new horse battery")
        await ina.page.keyboard.press("Enter")
        await ina.page.get_by_label("Password").fill("a new horse battery")
        await ina.page.keyboard.press("Enter")
        await expect(ina.page.get_by_role("heading", name="Plant")).to_be_visible()
    await eva.go("/app/main/organization")
    row = eva.page.get_by_role("row").filter(has_text="ina@example.org").first
    await expect(row).to_contain_text("operator")
    await row.get_by_text("Role…").click()
    await row.get_by_label("Role").select_option("engineer")
    await row.get_by_label("Reason").first.fill("trained")
    await row.get_by_role("button", name="Change").click()
    await expect(eva.page.locator("#said")).to_have_text("The member is engineer now.")
    await expect(row).to_contain_text("engineer")


async def test_an_error_keeps_what_was_typed(eva: Visitor) -> None:
    eva.expected = ["403", "htmx:response:error"]
    await eva.go("/app/main/me")
    await eva.finds_no_barrier()
    await eva.page.get_by_text("Change the password…").click()
    await eva.page.get_by_label("The old one").fill("not this one")
    await eva.page.get_by_label("The new one").fill("another horse battery")
    await eva.page.get_by_role("button", name="Change").click()
    await expect(eva.page.get_by_role("alert")).to_contain_text("The old password is wrong")
    await expect(eva.page.get_by_label("The new one")).to_have_value("another horse battery")
    await eva.page.get_by_label("The old one").fill("correct horse battery")
    await eva.page.get_by_role("button", name="Change").click()
    await expect(eva.page.locator("#said")).to_contain_text("The password is changed")
    await expect(eva.page.get_by_role("alert")).to_have_count(0)


async def test_a_viewer_sees_no_acts(site: Site, browser: Browser) -> None:
    await site.person("vera@example.org", Role.VIEWER)
    async with visiting(browser, site.address, viewport=PHONE, scheme="dark") as vera:
        await vera.log_in("vera@example.org")
        await vera.go("/app/main/organization")
        await expect(vera.page.locator("details")).to_have_count(0)
        await vera.finds_no_barrier()


async def test_what_is_typed_stays_when_the_session_ends(site: Site, eva: Visitor) -> None:
    eva.expected = ["401"]
    await eva.go("/app/main/organization")
    await eva.page.locator("#about + details summary").click()
    await eva.page.get_by_label("Contact").fill("a long text")
    await site.plant.sql.execute("update sessions set ended_at = now()")
    await site.plant.sql.execute("select notice_send('biogate_accounts', '')")
    async with asyncio.timeout(20):  # the API hears that the session has ended, and then the page does
        while "Your session has ended" not in await eva.page.locator("#problem").inner_text():
            await eva.page.evaluate("document.body.dispatchEvent(new CustomEvent('alarms'))")
            await asyncio.sleep(0.2)
    await expect(eva.page.get_by_label("Contact")).to_have_value("a long text")
