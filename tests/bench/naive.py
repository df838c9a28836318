"""The reference of B3, the obvious way: `python -m tests.bench.naive --port 1883 --frames 60000 DATABASE_URL`.

aiomqtt, msgpack, and asyncpg's `copy_records_to_table`; one row a frame with a float8[], as the gateway has it. What it
does not do: it acknowledges on receipt and so loses what it holds when it dies; there is one layout, and no check of
types, times, names or duplicates; one bad frame ends it; nothing bounds its memory, and nobody is told what is stored.
"""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import aiomqtt
import asyncpg
import msgpack
import typer

INTERVAL_S = 0.05
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
COLUMNS = ("time", "device_id", "layout_id", "boot", "seq", "received_at", "values")


async def run(url: str, port: int, frames: int, username: str | None, password: str | None) -> None:
    async with asyncpg.create_pool(url, min_size=1, max_size=2) as pool:
        devices = {row["name"]: row["device_id"] for row in await pool.fetch("select name, device_id from devices")}
        waiting: list[tuple[Any, ...]] = []

        async def receive() -> None:
            async with aiomqtt.Client(
                "127.0.0.1", port, username=username, password=password, identifier="naive"
            ) as client:
                await client.subscribe("bioreactors/+/telemetry", qos=1)
                print(json.dumps({"ready": True}), flush=True)
                async for message in client.messages:
                    assert isinstance(message.payload, bytes)
                    frame = msgpack.unpackb(message.payload)
                    time = EPOCH + timedelta(milliseconds=frame["t"])
                    device_id = devices[message.topic.value.split("/")[1]]
                    values = list(frame["v"].values())
                    waiting.append((time, device_id, 1, frame["boot"], frame["seq"], datetime.now(UTC), values))

        receiver = asyncio.create_task(receive())
        stored = 0
        while stored < frames:
            await asyncio.sleep(INTERVAL_S)
            if receiver.done():
                receiver.result()
            batch, waiting[:] = waiting[:], []
            if batch:
                await pool.copy_records_to_table("frames", records=batch, columns=COLUMNS)
                stored += len(batch)
        receiver.cancel()


def main(
    url: str,
    port: Annotated[int, typer.Option()],
    frames: Annotated[int, typer.Option(help="ends when so many are stored")],
    username: str | None = None,
    password: str | None = None,
) -> None:
    """Store what devices publish, until there is enough."""
    asyncio.run(run(url, port, frames, username, password))


if __name__ == "__main__":
    typer.run(main)
