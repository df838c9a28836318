"""A flood of mutated frames through a real broker, gateway and database: `python -m tests.bench.poison [COUNT [RATE]]`.

COUNT messages (1,000,000) at RATE a second (0: as fast as the broker takes them), while another device sends 50 frames
a second: what a message costs, how late the other device's frames are, what the disk and the gateway's memory grow by.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path

import asyncpg

import deploy.stack
from schema.migrate import migrate
from tests.gateway.steady import GoodDevice
from tests.processes import GatewayProcess

KINDS = ("frame", "status", "event")
NEWEST = "select extract(epoch from max(time)) from frames join devices using (device_id) where name = 'good'"


def resident_mb(pid: int) -> float:
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]) / 1024


async def measure(count: int, rate: float) -> None:
    with deploy.stack.local("bench-poison") as stack, tempfile.TemporaryDirectory() as scratch:
        database = await asyncpg.connect(stack.database_url)
        await migrate(database)
        await database.execute("insert into devices (name) values ('mad'), ('good')")
        gateway = GatewayProcess(stack.database_url, stack.mqtt_url, Path(scratch) / "log")
        gateway.start()
        before = resident_mb(gateway.child.pid)
        good = GoodDevice(stack.mosquitto.port)
        command = ("-m", "tests.gateway.poison", str(stack.mosquitto.port), "mad", str(count), str(rate), "1")
        begun = time.monotonic()
        flood = await asyncio.create_subprocess_exec(sys.executable, *command)
        lags, resident, received, size = [], 0.0, 0, 0
        print("    s   received   lag s   quarantine MB   gateway MB")
        while received < count:
            await asyncio.sleep(0.2)
            if (newest := await database.fetchval(NEWEST)) is not None:
                lags.append(time.time() - float(newest))
            if len(lags) % 25 == 1:
                accounts = [gateway.account(kind) for kind in KINDS]
                received = sum(account["received"] - account["in_flight"] for account in accounts)
                resident = max(resident, resident_mb(gateway.child.pid))
                size = await database.fetchval("select pg_total_relation_size('quarantine')")
                seconds = time.monotonic() - begun
                print(f"{seconds:5.0f}{received:11}{lags[-1]:8.2f}{size / 2**20:16.1f}{resident:13.0f}", flush=True)
        took = time.monotonic() - begun
        await flood.wait()
        sent = good.stop()
        gateway.settle(0)
        stored = await database.fetchval(
            "select count(distinct seq) from frames join devices using (device_id) where name = 'good'"
        )
        lags.sort()
        print(f"{took / count * 1e6:.0f} µs a message ({count / took:.0f}/s); good device: {stored} of {sent} frames")
        print(
            f"lag median {lags[len(lags) // 2]:.2f} s, most {lags[-1]:.2f} s; gateway {before:.0f} → {resident:.0f} MB"
        )
        for table in ("quarantine", "quarantine_usage", "quarantine_overflow", "channels", "layouts"):
            row = await database.fetchrow(f"select count(*), pg_total_relation_size('{table}') as size from {table}")
            print(f"{table}: {row['count']} rows, {row['size'] / 2**20:.1f} MB")
        print({kind: gateway.account(kind) for kind in KINDS})
        gateway.terminate()
        await database.close()


if __name__ == "__main__":
    asyncio.run(measure(int(sys.argv[1]) if sys.argv[1:] else 1_000_000, float(sys.argv[2]) if sys.argv[2:] else 0))
