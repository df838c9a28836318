"""A process that signs, taken apart: signer, directory and file, on the test's own database."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from gateway.evidence.directory import EvidenceDirectory
from gateway.evidence.lead import EvidenceLead
from gateway.evidence.signer import Signer
from gateway.runtime.database import Pool, Troubles, create_pool
from gateway.settings import Settings
from schema.evidence.key_files import make_first
from schema.evidence.keys import load_public
from schema.evidence.verification import ChainVerification, Elsewhere, verify_chain
from schema.migrate import EVIDENCE
from tests.gateway.material import settings
from tests.roles import as_role

WRITE = """
insert into audit (organization_id, who, action, subject, new, why)
select $1, 'eva', 'x', 's/' || g, to_jsonb(g), 'y' from generate_series(1, $2::int) g"""


@dataclass
class Signing:
    """What signs, and what it has."""

    settings: Settings
    pool: Pool
    """With the rights of a process that signs."""
    owner: Pool
    directory: EvidenceDirectory
    lead: EvidenceLead
    signer: Signer
    troubles: Troubles
    holding: asyncio.Task[None]

    async def lead_ends(self) -> None:
        self.holding.cancel()
        await asyncio.wait([self.holding])

    async def events(self, count: int, organization: int = 1) -> None:
        await self.owner.execute(WRITE, organization, count)

    async def sign(self) -> None:
        """One look, as after a start."""
        await self.signer.begin()
        await self.signer.sign_all()

    async def digests(self, kinds: int, organization: int = 1) -> None:
        """Wait until records of so many kinds are in the trail: transactions of other databases hold it up, too."""
        async with asyncio.timeout(60):
            while await self.pool.fetchval("select count(*) from record_positions") < kinds:
                await self.signer.digests.write(organization)
                await asyncio.sleep(0.02)

    async def verify(self, organization: int = 1, *, elsewhere: Elsewhere | None = None) -> ChainVerification:
        """With key, file and what was signed last, as the process does it."""
        if elsewhere is None:
            public = load_public(self.directory.path / "public.pem")
            elsewhere = Elsewhere(public, self.directory.file, self.signer.newest.get(organization))
        async with self.pool.acquire() as connection:
            return await verify_chain(connection, organization, elsewhere)


@contextlib.asynccontextmanager
async def signing_of(database_url: str, directory: Path, **changes: object) -> AsyncIterator[Signing]:
    """The parts, leading, with a key in `directory`."""
    make_first(directory)
    chosen = settings(as_role(database_url, EVIDENCE), evidence_dir=directory, **changes)
    troubles: Troubles = {}
    async with (
        create_pool(chosen, purpose="evidence") as pool,
        create_pool(settings(database_url), purpose="tests") as owner,
    ):
        lead = EvidenceLead(chosen, troubles)
        holding = asyncio.create_task(lead.hold())
        try:
            async with asyncio.timeout(30):
                await lead.leading.wait()
            own = EvidenceDirectory(chosen)
            signer = Signer(chosen, pool, lead, own, troubles=troubles)
            yield Signing(chosen, pool, owner, own, lead, signer, troubles, holding)
        finally:
            holding.cancel()
            await asyncio.wait([holding])
