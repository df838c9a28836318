"""One run of a scenario, and what must hold after it."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg

from deploy.stack import Postgres
from tests.faults.attack import POISONER
from tests.faults.load import Load, read
from tests.faults.plant import LIVE_S, Plant, plant
from tests.faults.scenarios import Ground, Scenario
from tests.faults.servers import (
    Replica,
    Site,
    may_mount,
    new_database,
    second_postgres,
    small_disk,
    start_again,
    wait_synchronous,
)
from tests.faults.verify import Verdict, check_totals, verify

SMALL = {"max_wal_size": "128MB", "min_wal_size": "64MB", "shared_buffers": "64MB"}


@dataclass
class Result:
    scenario: Scenario
    runs: int = 0
    strikes: int = 0
    verdict: Verdict = field(default_factory=Verdict)
    duplicates: int = 0
    asked: int = 0
    """Requests for frames that had not arrived."""
    poison: int = 0
    """Messages of others in quarantine."""
    catch_up: list[float] = field(default_factory=list)
    take_overs: list[float] = field(default_factory=list)
    memory_mb: float = 0.0
    seconds: float = 0.0
    skipped: str = ""

    @property
    def passed(self) -> bool:
        return not self.verdict.complaints

    def __add__(self, other: Result) -> Result:
        return Result(
            self.scenario,
            self.runs + other.runs,
            self.strikes + other.strikes,
            self.verdict + other.verdict,
            self.duplicates + other.duplicates,
            self.asked + other.asked,
            self.poison + other.poison,
            self.catch_up + other.catch_up,
            self.take_overs + other.take_overs,
            max(self.memory_mb, other.memory_mb),
            self.seconds + other.seconds,
            self.skipped or other.skipped,
        )


@dataclass(frozen=True)
class Conditions:
    """What runs have in common."""

    load: Load
    scale: float = 1.0
    strikes: int | None = None
    """In a run, at most; None: as the scenario says."""
    settings: dict[str, object] = field(default_factory=dict)
    """Of the gateway; none: its defaults."""
    memory_mb: float = 200.0
    """More in a gateway is a complaint."""
    patience_s: float = 180.0
    """How long devices wait for the last receipts."""


async def run(site: Site, scenario: Scenario, conditions: Conditions, seed: str, directory: Path) -> Result:
    """Strike a running plant at random moments, let it come to rest, compare."""
    if scenario.ground is Ground.SMALL_DISK and not may_mount():
        return Result(scenario, skipped="this process may not mount a small disk")
    begun, chance = time.monotonic(), random.Random(seed)
    result = Result(scenario, runs=1)
    complaints = result.verdict.complaints
    async with prepared(site, scenario, conditions, chance, directory) as made:
        for _ in range(min(conditions.strikes or scenario.strikes, scenario.strikes)):
            await made.pause(0.5, 3)
            await scenario.strike(made)
            result.strikes += 1
            if scenario.simulator:
                continue  # such a fault ends with the load
            try:
                result.catch_up.append(await made.caught_up(LIVE_S * conditions.load.frames_s))
            except TimeoutError as error:
                complaints.append(f"not caught up: {error}")
        await finish(made, scenario, conditions, result)
        complaints += made.complaints
        result.take_overs = made.take_overs
    result.seconds = time.monotonic() - begun
    return result


async def finish(made: Plant, scenario: Scenario, conditions: Conditions, result: Result) -> None:
    """No more frames; when all are receipted, stop the gateways and compare."""
    complaints = result.verdict.complaints
    begun = time.monotonic()
    summary = made.simulator.finish()
    if scenario.simulator:
        result.catch_up.append(time.monotonic() - begun)
    if made.simulator.ending != "exit code 0":
        complaints.append(f"the devices ended with {made.simulator.ending}: {summary}")
    for wait in (made.caught_up(0, 60), made.settled()):
        try:
            await wait
        except (TimeoutError, AssertionError) as error:
            complaints.append(str(error))
    result.asked = made.watch.total("biogate_backfill_requests_total")
    for gateway in made.gateways:
        if gateway.running:
            made.watch.look(gateway)
            if status := gateway.terminate(60):
                complaints.append(f"a gateway ended with status {status} at the end")
    complaints += made.watch.broken_accounts
    result.memory_mb = made.watch.memory_mb
    if result.memory_mb > conditions.memory_mb:
        complaints.append(f"a gateway took {result.memory_mb:.0f} MB of memory")
    await compare(made, scenario, result, said(summary, "poison_acknowledged") + made.others)


async def compare(made: Plant, scenario: Scenario, result: Result, others: int) -> None:
    """What the devices produced with what is stored; `others`: messages published besides."""
    produced = read(made.simulator.journal, made.load)
    connection = await asyncpg.connect(made.database_url)
    try:
        verdict = await verify(connection, produced)
        verdict.complaints += await check_totals(connection)
        totals = await connection.fetchrow(
            """select sum(duplicate)::bigint as duplicate,
                      sum(committed + duplicate + quarantined + discarded)::bigint as settled
                 from intake_totals where kind in ('frame', 'status', 'event', 'result')"""
        )
        result.poison = await connection.fetchval("select count(*) from quarantine where device = $1", POISONER)
    finally:
        await connection.close()
    result.duplicates = totals["duplicate"]
    if totals["settled"] < len(produced) - sum(verdict.lost.values()) + others:
        verdict.complaints.append(
            f"{len(produced)} frames and {others} other messages, but only {totals['settled']} items were settled"
        )
    if unexpected := verdict.quarantined.keys() - scenario.reasons:
        verdict.complaints.append(f"frames in quarantine that are nobody's fault: {sorted(unexpected)}")
    if verdict.lost:
        verdict.complaints.append(f"frames were lost: {dict(verdict.lost)}")
    result.verdict += verdict


def said(summary: dict[str, object], name: str) -> int:
    count = summary.get(name, 0)
    assert isinstance(count, int)
    return count


@contextlib.asynccontextmanager
async def prepared(
    site: Site, scenario: Scenario, conditions: Conditions, chance: random.Random, directory: Path
) -> AsyncIterator[Plant]:
    """A plant on the ground the scenario asks for."""
    with contextlib.ExitStack() as stack:
        postgres, ballast, replica, url = site.postgres, None, None, None
        if not postgres.process.running:  # a run before has broken off
            start_again(postgres)
        if scenario.ground is Ground.SMALL_DISK:
            postgres = second_postgres(site, "small", SMALL)
            ballast = stack.enter_context(small_disk(postgres))
            postgres.start()
        elif scenario.ground is Ground.REPLICATED:
            postgres = stack.enter_context(second_postgres(site, f"primary-{chance.getrandbits(32):x}", {}))
            url, replica = await replicate(site, postgres, stack)
        broker = stack.enter_context(site.new_broker())
        async with plant(
            site.stack.paths,
            postgres,
            broker,
            load=conditions.load,
            chance=chance,
            directory=directory,
            scale=conditions.scale,
            gateways=scenario.gateways,
            links=scenario.links,
            settings=conditions.settings,
            database_url=url,
            simulator_faults=scenario.simulator,
            patience_s=conditions.patience_s,
        ) as made:
            made.ballast, made.replica = ballast, replica
            yield made


async def replicate(site: Site, primary: Postgres, stack: contextlib.ExitStack) -> tuple[str, Postgres]:
    """A standby of `primary`, and the URL that finds whichever of the two is the database."""
    url = await new_database(primary.url)
    replica = stack.enter_context(Replica(primary, site.stack.paths, primary.data.name.replace("primary", "replica")))
    connection = await asyncpg.connect(primary.url)
    await connection.execute("alter system set synchronous_standby_names = '*'")
    await connection.execute("select pg_reload_conf()")
    await connection.close()
    await wait_synchronous(primary)
    both = url.replace(f":{primary.port}/", f":{primary.port},127.0.0.1:{replica.port}/")
    return f"{both}?target_session_attrs=read-write", replica
