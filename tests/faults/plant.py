"""One run: devices, broker, gateways and database, with the network between them, under a steady load."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import asyncpg

from deploy.stack import Mosquitto, Postgres
from deploy.stack.paths import Paths
from tests.faults.attack import POISONER
from tests.faults.gateways import Gateway
from tests.faults.load import Load, Simulator
from tests.faults.proxy import Network
from tests.faults.servers import drop_database, new_database
from tests.faults.watch import Watch
from tests.processes import wait_until

WARM_UP_S = 1.0
LIVE_S = 1.0
"""Caught up: no more is outstanding than the load brings in so long."""
CATCH_UP_S = 240.0

ACCOUNTED = """
select (select count(*) from frames where device_id = any ($1::int[]))
     + (select count(*) from quarantine where device = any ($2::text[]) and reason = 'conflict'
           and (topic like '%/telemetry' or topic like '%/history'))"""


@dataclass
class Plant:
    postgres: Postgres
    broker: Mosquitto
    database_url: str
    """Without a detour, for the harness; of a database with a standby, both."""
    gateways: list[Gateway]
    simulator: Simulator
    watch: Watch
    load: Load
    chance: random.Random
    scale: float = 1.0
    """Of how long faults last: 1 as the table says."""
    replica: Postgres | None = None
    ballast: Path | None = None
    others: int = 0
    """Messages that others than the devices have published."""
    take_overs: list[float] = field(default_factory=list)
    """Seconds from the end of a leader to the next one."""
    complaints: list[str] = field(default_factory=list)

    @property
    def gateway(self) -> Gateway:
        return self.gateways[0]

    @property
    def leader(self) -> Gateway:
        """The gateway that is ready; the first one, if none is."""
        return next((each for each in self.gateways if each.ready), self.gateways[0])

    async def pause(self, least_s: float, most_s: float) -> None:
        """A moment by chance."""
        await asyncio.sleep(self.chance.uniform(least_s, most_s) * min(1, self.scale * 4))

    async def hold(self, seconds: float) -> None:
        """As long as the fault lasts."""
        await asyncio.sleep(seconds * self.scale)

    async def outstanding(self) -> int | None:
        """Frames produced and not yet stored or in quarantine; None while the database does not answer."""
        produced = self.simulator.produced()
        try:
            async with asyncio.timeout(10):
                connection = await asyncpg.connect(self.database_url, timeout=5)
                try:
                    names = self.load.names
                    ids = await connection.fetchval(
                        "select array_agg(device_id) from devices where name = any ($1::text[])", names
                    )
                    accounted: int = await connection.fetchval(ACCOUNTED, ids, names)
                finally:
                    await connection.close()
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return None
        return produced - accounted

    async def caught_up(self, most: float, patience_s: float = CATCH_UP_S) -> float:
        """Seconds until no more than `most` frames are outstanding. Raises TimeoutError."""
        begun = time.monotonic()
        while (outstanding := await self.outstanding()) is None or outstanding > most:
            if time.monotonic() - begun > patience_s:
                raise TimeoutError(f"{outstanding} frames are still outstanding after {patience_s:g} s")
            await asyncio.sleep(0.2)
        return time.monotonic() - begun

    async def settled(self, patience_s: float = 60) -> None:
        """Until nothing is in flight in the gateway that leads."""

        def nothing_in_flight() -> bool:
            counts = [count for name, count in self.leader.metrics().items() if "in_flight" in name]
            return bool(counts) and not any(counts)

        wait_until(nothing_in_flight, patience_s)


@contextlib.asynccontextmanager
async def plant(
    paths: Paths,
    postgres: Postgres,
    broker: Mosquitto,
    *,
    load: Load,
    chance: random.Random,
    directory: Path,
    scale: float = 1.0,
    gateways: int = 1,
    links: bool = False,
    settings: Mapping[str, object] = MappingProxyType({}),
    database_url: str | None = None,
    simulator_faults: tuple[str, ...] = (),
    patience_s: float = 180,
) -> AsyncIterator[Plant]:
    """A running plant, warmed up. `database_url` is where gateways find the database, if not simply in `postgres`."""
    at = database_url or await new_database(postgres.url)
    async with contextlib.AsyncExitStack() as stack:
        if database_url is None:
            stack.push_async_callback(_drop, at)
        await _register(at, load)
        network = stack.enter_context(Network()) if links else None
        members = [
            Gateway(at, broker.url, directory / f"gateway-{number}.log", network, settings)
            for number in range(gateways)
        ]
        for member in members:
            stack.callback(member.kill)
        simulator = Simulator(paths, directory, broker.url, load, simulator_faults, patience_s)
        watch = stack.enter_context(Watch(members))
        made = Plant(postgres, broker, at, members, simulator, watch, load, chance, scale)
        stack.callback(simulator.module.kill)
        for member in members:
            member.start(ready=member is members[0])
        simulator.start()
        await asyncio.sleep(WARM_UP_S)
        await made.caught_up(LIVE_S * load.frames_s, 60)
        yield made


async def _register(url: str, load: Load) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute("insert into devices (name) select unnest($1::text[])", [*load.names, POISONER])
    await connection.close()


async def _drop(url: str) -> None:
    with contextlib.suppress(OSError, asyncpg.PostgresError):  # the server may be gone for good: a fail-over
        await drop_database(url)
