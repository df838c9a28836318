"""Signs the newest event of each audit trail, and keeps the checkpoint in the table, in the file and at the broker.

Nothing is signed that does not go on from what was signed last: then the organization is halted, and told of, until a
person says in the directory of the key that it shall go on (`biogate keys resume`). The process may be killed between
table and file: at the next start each gets what only the other has, as far as the trail still agrees.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import asyncpg
import structlog

from gateway.errors import GatewayError, LeadLost
from gateway.evidence import metrics
from gateway.evidence.checkpoint_file import CheckpointFile
from gateway.evidence.continuity import Broken, catch_up, marks_since, refill_table
from gateway.evidence.digests import RecordDigests
from gateway.evidence.directory import EvidenceDirectory
from gateway.evidence.lead import HELD, EvidenceLead
from gateway.evidence.stamps import Stamps
from gateway.runtime.database import FAILURES, Pool, Trouble, Troubles
from gateway.runtime.events import wait_at_most
from gateway.runtime.lead import pause_while
from gateway.runtime.triage import sqlstate
from gateway.settings import Settings
from schema.evidence.checkpoints import Checkpoint, sign_checkpoint
from schema.evidence.key_files import SigningKeys
from schema.evidence.keys import key_id
from schema.evidence.walk import RESUME

log = structlog.get_logger()

BROKER_S = 5.0
"""Longest wait at a start for what the broker has retained."""
HEADS = """
select o.organization_id, o.name, coalesce(a.n, 0) as n, coalesce(a.hash, '') as hash
  from organizations o left join lateral (
       select n, hash from audit where organization_id = o.organization_id order by n desc limit 1) a on true
 order by o.organization_id"""
KEEP = """
insert into checkpoints (organization_id, number, n, at, text, signature, key_id)
values ($1, $2, $3, $4, $5, $6, $7)"""
OLDEST_UNSIGNED = "select at from audit where organization_id = $1 and n > $2 order by n limit 1"
RESUMED = """
insert into audit (organization_id, who, action, subject, old, new, why)
values ($1, $2, $3, 'checkpoints', $4::jsonb, $5::jsonb, $6) returning n, hash"""


class Signer:
    """Signs while it leads. `told` is set when there is something for the broker; `newest` has it."""

    def __init__(
        self,
        settings: Settings,
        pool: Pool,
        lead: EvidenceLead,
        directory: EvidenceDirectory,
        *,
        troubles: Troubles,
    ) -> None:
        self._settings, self._pool, self._lead = settings, pool, lead
        self._directory, self._troubles = directory, troubles
        self.file = CheckpointFile(directory.file)
        self._stamps = Stamps(settings, pool, self.file)
        self.digests = RecordDigests(pool, lead)
        self._halted: dict[int, str] = {}
        self.newest: dict[int, Checkpoint] = {}
        """The last checkpoint of each organization."""
        self.retained: dict[int, Checkpoint] = {}
        """What the broker had, as the publisher has read it."""
        self.broker_read = asyncio.Event()
        self.told = asyncio.Event()

    async def run(self) -> None:
        """Sign, for ever, while leading."""
        trouble = Trouble(self._troubles, "sign the audit trails")
        while True:
            await self._lead.leading.wait()
            try:
                await wait_at_most(BROKER_S, self.broker_read)
                await self.begin()
                while self._lead.leading.is_set():
                    await self.sign_all()
                    trouble.reset()
                    look_s = self._settings.timing.look_s
                    await pause_while(self._lead.leading, self._settings.evidence_interval_s, look_s)
            except LeadLost:
                await asyncio.sleep(self._settings.timing.look_s)
            except (GatewayError, *FAILURES) as error:
                metrics.FAILURES.labels(sqlstate(error)).inc()
                await asyncio.sleep(trouble.failed(error))
            finally:
                for figure in (metrics.UNSIGNED_AGE, metrics.HALTED):
                    figure.forget()

    async def begin(self) -> None:
        """Find out what was signed last, and bring table and file together."""
        self.file.load()
        if self.file.unreadable:
            log.error("the file of checkpoints has lines that cannot be read", lines=self.file.unreadable[:20])
        self._halted.clear()
        keys = await self._announce()
        for organization, name in await self._pool.fetch("select organization_id, name from organizations order by 1"):
            try:
                others = {"broker": self.retained.get(organization), "process": self.newest.get(organization)}
                newest = await catch_up(self._pool, keys.ring, self.file, organization, others)
            except Broken as broken:
                self._halt(organization, name, broken)
            else:
                if newest is not None:
                    self.newest[organization] = newest
        self.told.set()

    async def sign_all(self) -> None:
        """One look at all organizations. Raises LeadLost, and the database's errors."""
        keys = await self._announce()
        for row in await self._pool.fetch("select organization_id from organizations order by 1"):
            await self.digests.write(row["organization_id"])
        oldest: list[datetime] = []
        for head in await self._pool.fetch(HEADS):
            try:
                await self._sign(keys, head)
            except Broken as broken:
                self._halt(head["organization_id"], head["name"], broken)
            oldest += await self._unsigned(head)
        age = (datetime.now(UTC) - min(oldest)).total_seconds() if oldest else 0.0
        metrics.UNSIGNED_AGE.set(max(age, 0.0))
        metrics.HALTED.set(len(self._halted))

    async def _unsigned(self, head: asyncpg.Record) -> list[datetime]:
        """The time of the oldest event that is not signed, if there is one."""
        last = self.newest.get(head["organization_id"])
        if last is not None and last.says.n >= head["n"]:
            return []
        at = await self._pool.fetchval(OLDEST_UNSIGNED, head["organization_id"], last.says.n if last else 0)
        return [] if at is None else [at]

    async def _sign(self, keys: SigningKeys, head: asyncpg.Record) -> None:
        """Sign the head of an organization, if it is new. Raises Broken if it does not go on from what was signed."""
        organization, last, marks = head["organization_id"], self.newest.get(head["organization_id"]), b""
        if organization in self._halted:
            resumed = await self._resume(organization, head, last)
            if resumed is None:
                return
            head = resumed
        elif last is not None and (last.says.n, last.says.hash) == (head["n"], head["hash"].hex()):
            return
        elif last is not None or head["n"]:
            marks = await marks_since(self._pool, organization, last, head["n"])
        else:
            return
        await self._keep(keys, organization, head, last, marks)

    async def _keep(
        self, keys: SigningKeys, organization: int, head: asyncpg.Record, last: Checkpoint | None, marks: bytes
    ) -> None:
        at = datetime.now(UTC)
        checkpoint = sign_checkpoint(keys.private, organization, head["n"], head["hash"], at=at, before=last)
        async with self._pool.acquire() as connection, connection.transaction():
            if await connection.fetchval(HELD) != self._lead.epoch:
                raise LeadLost("another process has taken the lead")
            said = checkpoint.says
            row = organization, said.number, said.n, at, checkpoint.text, checkpoint.signature, said.key
            await connection.execute(KEEP, *row)
        self.newest[organization] = checkpoint
        self.file.append(checkpoint, marks)
        metrics.CHECKPOINTS.inc()
        self.told.set()
        await self._stamps.stamp(checkpoint)

    async def _resume(self, organization: int, head: asyncpg.Record, last: Checkpoint | None) -> asyncpg.Record | None:
        """Write into the trail that a person lets it go on, if one does; return that event."""
        asked = self._directory.asked_to_resume(organization)
        if asked is None:
            return None
        who, why = asked
        was = "null" if last is None else last.text
        now = f'{{"n": {head["n"]}, "hash": "{head["hash"].hex()}"}}'
        event: asyncpg.Record = await self._pool.fetchrow(RESUMED, organization, who, RESUME, was, now, why)
        await refill_table(self._pool, self.file, organization)
        self._directory.has_resumed(organization)
        self._halted.pop(organization, None)
        self._troubles.pop(f"sign {organization}", None)
        log.warning("signing goes on", organization=organization, who=who, why=why)
        return event

    def _halt(self, organization: int, name: str, broken: Broken) -> None:
        """Sign this organization no more until a person has looked."""
        if broken.newest is not None:
            self.newest[organization] = broken.newest
        if organization not in self._halted:
            self._halted[organization] = str(broken)
            log.error(
                "not signed: the audit trail does not go on from what was signed", organization=name, why=str(broken)
            )
        self._troubles[f"sign {organization}"] = f"the audit trail of {name} is not signed: {broken}"

    async def _announce(self) -> SigningKeys:
        """Tell table, file, trail and broker of keys that they do not know."""
        keys = self._directory.keys()
        known = {row["key_id"] for row in await self._pool.fetch("select key_id from evidence_keys")}
        for change in keys.changes:
            if change not in self.file.keys:
                self.file.append_key(change)
                self.told.set()
        for name, change in zip(keys.ring, keys.changes, strict=True):
            if name not in known:
                await self._directory.store(self._pool, name, change)
        if key_id(keys.private) != self._directory.told:
            self._directory.told = key_id(keys.private)
            log.info("signing with", key=self._directory.told)
        return keys
