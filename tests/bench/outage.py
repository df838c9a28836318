"""The database is away under load: `python -m tests.bench.outage --rate 10000 --outage 600`.

Says how much memory the gateway took, and how fast the backlog was drained while the load went on. The broker's limits
are set for that outage, as the gateway's start-up check wants them.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from pathlib import Path
from typing import Annotated

import asyncpg
import typer

import deploy.stack
from schema.migrate import migrate
from tests.bench.meters import peak_mb
from tests.bench.plant import Load, LoadProcess, device_names, register
from tests.processes import GatewayProcess, assert_adds_up, wait_until

WARM_UP_S = 10
PAYLOAD_BYTES = 420


async def prepare(url: str, devices: int) -> None:
    connection = await asyncpg.connect(url)
    await migrate(connection)
    await connection.close()
    await register(url, device_names(devices))


def main(
    rate: Annotated[int, typer.Option(help="frames a second, live all the time")] = 10_000,
    outage: Annotated[int, typer.Option(help="seconds without the database")] = 600,
    devices: int = 500,
) -> None:
    """Stop PostgreSQL under load, start it again, watch the gateway catch up."""
    queued = rate * outage * PAYLOAD_BYTES * 3 // 2
    with (
        deploy.stack.local(f"outage-{os.getpid()}", mosquitto_settings={"max_queued_bytes": str(queued)}) as stack,
        tempfile.TemporaryDirectory() as directory,
    ):
        asyncio.run(prepare(stack.database_url, devices))
        gateway = GatewayProcess(stack.database_url, stack.mqtt_url, Path(directory) / "gateway.log")
        gateway.forked = False
        gateway.start(
            broker_conf=stack.mosquitto.data / "mosquitto.conf",
            plan_messages_per_s=rate,
            plan_outage_s=outage,
            plan_message_bytes=PAYLOAD_BYTES,
        )
        load = Load(devices=devices, frames=rate * (WARM_UP_S + outage * 2 + 30), rate=rate, warm_up=0)
        process = LoadProcess(stack.mosquitto.port, load, logins=False)
        process.wait_ready()
        process.go()
        try:
            time.sleep(WARM_UP_S)
            stack.postgres.stop()
            print(f"the database is away for {outage} s at {rate} frames/s", flush=True)
            time.sleep(outage)
            before = gateway.account()["committed"]
            stack.postgres.start()
            begun = time.monotonic()
            behind, last = rate * outage, begun
            while behind > rate:  # a second's worth is no backlog
                time.sleep(1)
                committed = gateway.account()["committed"] + gateway.account()["duplicate"]
                behind = int(rate * (outage + WARM_UP_S + time.monotonic() - begun)) - committed
                assert process.child.poll() is None or behind <= rate, "the load ended before the backlog was drained"
                if time.monotonic() - last > 10:
                    last = time.monotonic()
                    print(f"  {last - begun:4.0f} s: {behind:9,} behind", flush=True)
            took = time.monotonic() - begun
            drained = gateway.account()["committed"] - before
            print(
                f"drained in {took:.0f} s: {drained / took:,.0f} frames/s, {drained / took / rate:.1f} × the live rate"
            )
            said = process.result()
            wait_until(lambda: gateway.account()["committed"] >= said["acknowledged"], 120)
            assert_adds_up(gateway.account())
            print(f"gateway: at most {peak_mb(gateway.child.pid):.0f} MB resident")
            print(f"published {said['published']:,}, acknowledged {said['acknowledged']:,}, {gateway.account()}")
        finally:
            process.stop()
            gateway.kill()


if __name__ == "__main__":
    typer.run(main)
