"""What B13 compares the API with: FastAPI as its manual has it, with the same query, and nothing around it: no
accounts, no limits, no log. `python -m tests.bench.bare PORT`, with BIOGATE_DATABASE_URL."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import uvicorn
from fastapi import FastAPI

from api.queries import load

SQL = load("latest")["one"]
HOUR = timedelta(hours=1)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    settings = {"timezone": "UTC", "jit": "off", "max_parallel_workers_per_gather": "0", "random_page_cost": "1.1"}
    async with asyncpg.create_pool(os.environ["BIOGATE_DATABASE_URL"], server_settings=settings) as pool:
        app.state.pool = pool
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/health")
async def health() -> dict[str, str]:
    return {"status": "alive"}


@app.get("/latest/{device}")
async def latest(device: str) -> dict[str, Any]:
    rows = await app.state.pool.fetch(SQL, device, HOUR, datetime.now(UTC) - HOUR)
    values = [
        {"channel": name, "unit": unit, "value": value, "quality": 0, "time": row["time"]}
        for row in rows
        for name, unit, value in zip(row["names"], row["units"], row["values"], strict=True)
    ]
    return {"device": device, "time": rows[0]["newest"], "values": values}


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), log_config=None, access_log=False, server_header=False)
