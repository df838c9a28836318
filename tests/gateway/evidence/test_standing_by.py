"""A process that does not lead any more signs nothing, and tells no figure of the leader; what it has signed stays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from gateway.errors import LeadLost
from gateway.evidence import metrics, seal_metrics
from gateway.evidence.check import ScheduledVerification
from gateway.evidence.seal_task import SealTask, verify_span
from gateway.runtime.metric_kinds import OptionalGauge
from schema.times import Span
from tests.gateway.evidence.sealed_plant import BEGIN, END
from tests.gateway.evidence.signing import Signing, signing_of
from tests.gateway.material import settings

OTHERS_LEAD = "update evidence_lead set epoch = epoch + 1"
EVENT = """
insert into device_events (time, received_at, device_id, type, data, digest)
select now() + $1::int * interval '1 s', now(), 1, 'phase', '{"phase": "batch"}', sha256($1::int::text::bytea)"""
FIGURES = [
    figure
    for module in (metrics, seal_metrics)
    for figure in vars(module).values()
    if isinstance(figure, OptionalGauge) and figure is not metrics.DATABASE_REACHABLE
]


@pytest.fixture
async def signing(database_url: str, tmp_path: Path) -> AsyncIterator[Signing]:
    async with signing_of(database_url, tmp_path / "key") as signing:
        yield signing


def told() -> set[str]:
    """The names of the leader's figures that this process tells."""
    return {family.name for figure in FIGURES for family in figure.collect() if family.samples}


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not holds():
            await asyncio.sleep(0.02)


async def test_no_checkpoint_and_no_digest_is_written_once_another_process_leads(signing: Signing) -> None:
    await signing.owner.execute("insert into devices (name) values ('br-1')")
    await signing.events(2)
    await signing.sign()
    await signing.lead_ends()
    await signing.owner.execute(OTHERS_LEAD)
    await signing.events(1)
    before = signing.directory.file.read_bytes()
    with pytest.raises(LeadLost):
        await signing.signer.sign_all()
    await signing.owner.execute(EVENT, 1)
    with pytest.raises(LeadLost):
        await signing.digests(1)
    assert await signing.pool.fetchval("select count(*) from checkpoints") == 1
    assert await signing.pool.fetchval("select count(*) from record_positions") == 0
    assert signing.directory.file.read_bytes() == before


async def test_a_record_that_commits_after_one_with_a_greater_number_gets_its_digest(signing: Signing) -> None:
    """Numbers are given before the commit: what is written up to a number has all that come before it."""
    await signing.owner.execute("insert into devices (name) values ('br-1')")
    await signing.owner.execute(EVENT, 0)  # who makes a chunk is waited for
    async with signing.owner.acquire() as slow:
        committing = slow.transaction()
        await committing.start()
        await slow.execute(EVENT, 1)
        await signing.owner.execute(EVENT, 2)
        for _ in range(3):
            await signing.signer.digests.write(1)
        assert await signing.pool.fetchval("select count(*) from record_positions") == 0
        await committing.commit()
    await signing.digests(1)
    said = "select (new -> 'device_events' ->> 'count')::int from audit where action = 'records digest'"
    assert await signing.pool.fetchval(said) == 3


async def test_a_fault_in_the_trail_of_any_organization_counts(signing: Signing) -> None:
    other = "insert into organizations (name, title) values ('north', 'North') returning organization_id"
    north = await signing.owner.fetchval(other)
    for organization in (1, north):
        await signing.events(3, organization)
    await signing.sign()
    checked = ScheduledVerification(signing.settings, signing.lead, signing.directory, signing.signer, {})
    await checked.verify_all()
    assert found() == (1, 0)
    tamper = "update audit set why = 'else' where n = 2 and organization_id = $1"
    await signing.owner.execute("alter table audit disable trigger all")
    for faults, organization in enumerate((1, north), 1):
        await signing.owner.execute(tamper, organization)
        await checked.verify_all()
        assert found() == (0, faults)


async def test_what_is_not_signed_is_as_old_as_the_oldest_of_it(signing: Signing) -> None:
    await signing.events(3)
    await signing.sign()
    assert age() == 0
    signed = signing.signer.newest[1].says.n
    await signing.owner.execute(f"alter table audit disable trigger all; delete from audit where n = {signed}")
    await signing.owner.execute("alter table audit enable trigger all")
    await signing.events(3)
    await signing.owner.execute("alter table audit disable trigger all")
    await signing.owner.execute(f"update audit set at = now() - interval '10 minutes' where n = {signed + 1}")
    await signing.sign()
    assert "is not signed" in signing.troubles["sign 1"]
    assert 600 <= age() < 900


def age() -> float:
    [age] = [sample.value for family in metrics.UNSIGNED_AGE.collect() for sample in family.samples]
    return float(age)


def found() -> tuple[float, float]:
    [[verified], [faults]] = [
        [sample.value for family in figure.collect() for sample in family.samples]
        for figure in (metrics.VERIFIED, metrics.FAULTS)
    ]
    return verified, faults


async def test_figures_of_the_leader_end_with_its_lead(signing: Signing) -> None:
    for figure in FIGURES:
        figure.forget()
    await signing.events(3)
    await signing.sign()
    chosen = signing.settings.model_copy(update={"evidence_verify_s": 0.1, "evidence_interval_s": 0.1})
    seals = SealTask(chosen, signing.lead.leading, {})
    checked = ScheduledVerification(chosen, signing.lead, signing.directory, signing.signer, {})
    await signing.owner.execute("insert into devices (name) values ('br-1')")
    await signing.owner.execute("insert into seals_until select device_id, now() from devices")
    async with signing.owner.acquire() as connection:
        await verify_span(connection, Span(BEGIN, END))
    signing.signer.broker_read.set()
    running = [asyncio.create_task(work()) for work in (signing.signer.run, checked.run, seals.seal, seals.verify)]
    try:
        await until(lambda: len(told()) == len(FIGURES))
        await signing.lead_ends()
        await until(lambda: not told())
    finally:
        for one in running:
            one.cancel()
        await asyncio.wait(running)


async def test_a_verification_that_fails_leaves_no_figure_behind_when_the_lead_goes(signing: Signing) -> None:
    """An alert would look at it for as long as the process stands by."""
    await signing.events(3)
    await signing.sign()
    metrics.VERIFIED.set(0)
    nowhere, troubles = settings(evidence_dir=signing.directory.path), dict[str, str]()
    checked = ScheduledVerification(nowhere, signing.lead, signing.directory, signing.signer, troubles)
    running = asyncio.create_task(checked.run())
    try:
        await until(lambda: bool(troubles))
        await signing.lead_ends()
        await until(lambda: "biogate_audit_verified" not in told())
    finally:
        running.cancel()
        await asyncio.wait([running])
