"""Members of organizations who read pages and act on them, each with a browser of their own."""

from __future__ import annotations

import html
import re
from typing import Any

import asyncpg
import httpx2

from api.access.roles import Role
from tests.api.accounts import OWN_PAGE, Served, open_browser, user

SCRIPT = {"HX-Request": "true", "HX-Request-Type": "partial"}
"""What htmx sends with each request of its own."""


class PageMember:
    """Somebody who has logged in at a browser."""

    def __init__(self, client: httpx2.AsyncClient, organization: str) -> None:
        self.client, self.organization = client, organization

    def path(self, path: str) -> str:
        return path if path.startswith("/") else f"/app/{self.organization}/{path}"

    async def ask(self, path: str, part: bool = False) -> httpx2.Response:
        return await self.client.get(self.path(path), headers=SCRIPT if part else {})

    async def read(self, path: str, part: bool = False) -> str:
        """The page, which there must be."""
        answer = await self.ask(path, part)
        assert answer.status_code == 200, (path, answer.text)
        return answer.text

    async def words(self, path: str) -> str:
        """What stands on the page, without its elements."""
        text = re.sub(r"<(title|script|style)\b.*?</\1>", "", await self.read(path), flags=re.DOTALL)
        return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", text)).split())

    async def send(self, path: str, script: bool = True, **fields: Any) -> httpx2.Response:
        """Send a form: by htmx, or without a script."""
        headers = OWN_PAGE | (SCRIPT if script else {})
        return await self.client.post(self.path(path), data=fields, headers=headers)

    async def act(self, path: str, **fields: Any) -> str:
        """Send a form without a script, which must succeed; where it leads."""
        answer = await self.send(path, script=False, **fields)
        assert answer.status_code == 303, answer.text
        return answer.headers["location"]

    async def refused(self, path: str, **fields: Any) -> tuple[int, str]:
        """Send a form by htmx, which must fail; status and words. What was typed stays, as only `#problem` is filled."""
        answer = await self.send(path, **fields)
        assert answer.headers["hx-retarget"] == "#problem", answer.text
        return answer.status_code, html.unescape(answer.text)


async def member(
    site: Served, sql: asyncpg.Connection, role: Role = Role.ADMIN, organization: str = "main"
) -> PageMember:
    email = f"{role}-{organization}@example.org"
    await user(sql, email, organization, role)
    client = Served(site.app, "127.0.0.1", "https://api")
    await open_browser(client, email)
    return PageMember(client, organization)


async def trail(sql: asyncpg.Connection, organization: str = "main") -> list[tuple[str, str, str, str]]:
    """What the audit trail has of people who act: who, action, subject, reason."""
    rows = await sql.fetch(
        "select who, action, subject, why from audit join organizations using (organization_id)"
        " where name = $1 and action <> 'log in' and who like '%@%' order by n",
        organization,
    )
    return [tuple(row) for row in rows]
