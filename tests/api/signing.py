"""Signs the trail of a test's database, as the evidence process does, with a key of the tests."""

from __future__ import annotations

from datetime import UTC, datetime

import asyncpg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from schema.evidence.checkpoints import Checkpoint, sign_checkpoint
from schema.evidence.keys import key_change, key_id
from tests.evidence_vectors import key


class TrailSigner:
    """Checkpoints of one organization."""

    def __init__(self, sql: asyncpg.Connection, organization: int = 1) -> None:
        self._sql, self._organization = sql, organization
        self._key = key("first")

    async def take_over(self, label: str = "first") -> None:
        """Begin with this key, or change to it."""
        new: Ed25519PrivateKey = key(label)
        has_signed = await self._sql.fetchval("select exists (select from evidence_keys)")
        change = key_change(new, datetime.now(UTC), self._key if has_signed else None)
        self._key = new
        await self._sql.execute(
            "insert into evidence_keys values ($1, clock_timestamp(), $2, $3, $4)",
            *(key_id(new), change.text, change.signature, change.signature_before),
        )

    async def sign(self) -> int:
        """Sign what the trail has now; return the number of its newest row."""
        newest = await self._sql.fetchrow(
            "select n, hash from audit where organization_id = $1 order by n desc limit 1", self._organization
        )
        row = await self._sql.fetchrow(
            "select text, signature from checkpoints where organization_id = $1 order by number desc limit 1",
            self._organization,
        )
        before = None if row is None else Checkpoint(row["text"], row["signature"])
        made = sign_checkpoint(
            self._key, self._organization, newest["n"], newest["hash"], at=datetime.now(UTC), before=before
        )
        await self._sql.execute(
            "insert into checkpoints (organization_id, number, n, at, text, signature, key_id)"
            " values ($1, $2, $3, clock_timestamp(), $4, $5, $6)",
            *(self._organization, made.says.number, newest["n"], made.text, made.signature, key_id(self._key)),
        )
        return int(newest["n"])
