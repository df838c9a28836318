"""Events of the audit trail as they are hashed, read in pages and in order."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

PAGE = 2000
"""Events read at once: a few MB."""

# Nothing here calls a function of the database's own, which its owner could replace.
READ = """
select n, at, hash, pg_catalog.jsonb_build_array(
           n, extract(epoch from at), login, who, action, subject, old, new, why)::text as text
  from public.audit
 where organization_id = $1 and n >= $2 and (n, hash) > ($2, $3)
 order by n, hash limit $4"""
HASH_AT = "select hash from public.audit where organization_id = $1 and n = $2 order by hash limit 1"


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """A row of the audit trail: its number, time, stored hash, and the text that is hashed."""

    n: int
    at: datetime
    hash: bytes
    text: str

    @property
    def fields(self) -> dict[str, Any]:
        """The content of the text by the names of the columns."""
        names = ("n", "at", "login", "who", "action", "subject", "old", "new", "why")
        return dict(zip(names, json.loads(self.text), strict=True))


def seed(organization: int) -> bytes:
    """What stands for the hash before the first event of an organization."""
    return b"" if organization == 1 else hashlib.sha256(f"organization {organization}".encode()).digest()


def chained(before: bytes, text: str) -> bytes:
    """The hash of an event with this text, after the event whose hash is `before`."""
    return hashlib.sha256(before + text.encode()).digest()


async def events(connection: asyncpg.Connection, organization: int, after: int = 0) -> AsyncIterator[AuditEvent]:
    """Yield the events whose number is above `after`, in order, whatever their numbers are."""
    n, digest = after + 1, b""
    while True:
        page = await connection.fetch(READ, organization, n, digest, PAGE)
        for row in page:
            yield AuditEvent(row["n"], row["at"], row["hash"], row["text"])
        if len(page) < PAGE:
            return
        n, digest = page[-1]["n"], page[-1]["hash"]


async def hash_at(connection: asyncpg.Connection, organization: int, n: int) -> bytes | None:
    """The stored hash of event `n`; None if there is no such event."""
    found: bytes | None = await connection.fetchval(HASH_AT, organization, n)
    return found
