"""Bad input to the routes for telemetry, files and live feeds: a problem document at once, never an error of ours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.api.accounts import Served, api_key, bearer, serving
from tests.api.plant import Plant, at
from tests.api.test_problems import assert_problem

T, OF_BR_1 = "/api/v1/telemetry", "/api/v1/telemetry?device=br-1"
YEAR = "from=2025-03-01T00:00:00Z&to=2026-03-01T00:00:00Z"
PATIENCE = 5
"""Seconds for one answer."""

ADDRESSES = [
    # address, status, what the detail must say
    (T, 422, "device"),
    (f"{T}?device=br-9", 404, "br-9"),
    (f"{T}?device=br%2F1", 404, "br/1"),
    (f"{T}?mode=nonsense", 422, "mode"),
    (f"{OF_BR_1}&mode=plot&max_points=0", 422, "max_points"),
    (f"{OF_BR_1}&mode=plot&max_points=1000000000", 422, "max_points"),
    (f"{OF_BR_1}&mode=plot&bucket=1m", 422, "bucket"),
    (f"{OF_BR_1}&mode=plot&gap=0s", 422, "gap"),
    (f"{OF_BR_1}&mode=latest&{YEAR}", 422, "mode"),
    (f"{OF_BR_1}&bucket=day&tz=Nowhere/X", 422, "IANA"),
    (f"{OF_BR_1}&bucket=day&tz=Europe", 422, "IANA"),
    (f"{OF_BR_1}&bucket=day&tz=../../etc/passwd", 422, "IANA"),
    (f"{OF_BR_1}&bucket=day&tz={'x' * 5000}", 422, "IANA"),
    (f"{OF_BR_1}&bucket=1h&tz=Europe/Berlin", 422, "tz"),
    (f"{OF_BR_1}&bucket=1h&origin=0001-01-01T00:00:00Z", 422, "1900"),
    (f"{OF_BR_1}&bucket=1h&origin=99999-01-01T00:00:00Z", 422, "origin"),
    (f"{OF_BR_1}&bucket=month&origin=2026-01-31T00:00:00Z", 422, "28th"),
    (f"{OF_BR_1}&bucket=1ms&{YEAR}", 422, "too many"),
    (f"{OF_BR_1}&bucket=1ms&fill=last&format=csv&{YEAR}", 422, "too many"),
    (f"{OF_BR_1}&bucket=day&from=1900-01-01Z&to=9000-01-01Z&aggregate=avg,min", 422, "too many"),
    (f"{OF_BR_1}&bucket=0s", 422, "bucket"),
    (f"{OF_BR_1}&mode=buckets", 422, "max_points"),
    (f"{OF_BR_1}&bucket=1m&max_points=100", 422, "max_points"),
    (f"{OF_BR_1}&bucket=1m&aggregate=nonsense", 422, "nonsense"),
    (f"{OF_BR_1}&bucket=1m&fill_limit=0", 422, "fill_limit"),
    (f"{OF_BR_1}&mode=at", 422, "instants"),
    (f"{OF_BR_1}&at=,", 422, "instants"),
    (f"{OF_BR_1}&at=yesterday", 422, "ISO 8601"),
    (f"{OF_BR_1}&at={'now,' * 1001}", 422, "1000"),
    (f"{OF_BR_1}&at=now&max_age=99999w", 422, "max_age"),
    (f"{OF_BR_1}&unit=nonsense", 422, "nonsense"),
    (f"{OF_BR_1}&unit=", 422, "unit"),
    (f"{OF_BR_1}&channel=nothing-like-it", 422, "nothing-like-it"),
    (f"{OF_BR_1}&phase=never", 404, "never"),
    (f"{OF_BR_1}&limit=999999999999", 422, "limit"),
    (f"{OF_BR_1}&cursor=bnVsbA", 422, "next"),
    *(
        (f"{path}.{form}?{asked}", status, words)
        for form in ("arrow", "parquet")
        for path, asked, status, words in (
            (T, "", 422, "device"),
            (T, "device=br-1&shape=round", 422, "shape"),
            (T, "device=br-1&mode=plot&max_points=0", 422, "mode"),
            (T, "device=br-1&format=csv", 422, "format"),
            ("/api/v1/devices/br-1/telemetry", "unit=nonsense", 422, "nonsense"),
            ("/api/v1/devices/br-9/telemetry", "", 404, "br-9"),
        )
    ),
    ("/api/v1/exports/nonsense/file", 422, "job"),
    ("/api/v1/exports/00000000-0000-0000-0000-000000000000/file", 404, "0000"),
    *(
        (f"/api/v1/live-data?{asked}", 422, words)
        for asked, words in (
            *(("rate=0", "rate"), ("rate=1e9", "rate"), ("rate=nan", "rate"), ("rate=fast", "rate")),
            *(("device=", "device"), ("device=,", "device"), (f"channels={'a,' * 9000}{'c,' * 1001}", "20000")),
            ("&".join(f"channel=c{number}" for number in range(201)), "200"),
        )
    ),
    *(
        (f"/api/v1/activity{asked}", 422, words)
        for asked, words in (
            *(("?kind=nonsense", "kind"), ("?cursor=nonsense", "next"), ("?cursor=bnVsbA", "next")),
            *(("?limit=0", "limit"), ("?from=now&to=-1h", "from"), (f"?device={'x' * 65}", "device")),
            *(("/stream?kind=nonsense", "kind"), ("/stream?device=,", "device")),
        )
    ),
]
BODIES: list[tuple[str, Any, int, str]] = [
    *(
        (path, body, 404 if words == "br-9" else 422, words)
        for path in (T, "/api/v1/exports", "/api/v1/exports/estimate")
        for body, words in (
            *(
                (b"", "JSON"),
                (b"\xff\xfe", "JSON"),
                (b"[" * 60_000, "JSON"),
                (b'{"device": ["a"], "device": []}', "once"),
            ),
            *(([None, None], "body"), ("br-1", "body"), (1, "body"), (None, "body"), ({}, "device")),
            *(({"device": "br-1"}, "device"), ({"device": [None]}, "device"), ({"device": ["br-9"]}, "br-9")),
            ({"device": ["br-1"], "unit": ["nonsense"]}, "nonsense"),
            ({"device": ["br-1"], "from": 1796000000}, "from"),
            ({"device": ["br-1"], "from": "now", "to": "-1h"}, "from"),
            ({"device": ["br-1"], "nonsense": 1}, "nonsense"),
        )
    ),
    (T, {"device": ["br-1"], "mode": "plot", "max_points": 0}, 422, "max_points"),
    (T, {"device": ["br-1"], "bucket": "day", "tz": ["UTC"]}, 422, "IANA"),
    (T, {"device": ["br-1"], "bucket": {}}, 422, "bucket"),
    (T, {"device": ["br-1"], "at": ["now"] * 1001}, 422, "1000"),
    (T, {"device": ["br-1"], "at": ["now," * 1001]}, 422, "1000"),
    (T, {"device": ["br-1"], "at": ["now"] * 1_000_000}, 413, "65536"),
    ("/api/v1/exports", {"device": ["br-1"], "format": "xlsx"}, 422, "format"),
    ("/api/v1/exports", {"device": ["br-1"], "shape": "round"}, 422, "shape"),
    ("/api/v1/exports", {"device": ["x" * 1000] * 1000}, 413, "65536"),
]
PH = "/api/v1/devices/br-1/channels/ph"
CHANGES: list[tuple[Any, str]] = [
    *(([None], "body"), ({"step": 0}, "step"), ({"step": "yes"}, "step"), ({"decimals": False}, "decimals")),
    *(({"decimals": "2"}, "decimals"), ({"decimals": 1.5}, "decimals"), ({"low": "0", "high": "1"}, "low")),
    *(({"low": False, "high": True}, "low"), ({"low": 1, "high": 0}, "low"), ({"unit": 7}, "unit")),
]
"""To a channel; each would be stored as something that nobody has said."""
IMPORT = "/api/v1/imports?file=run-7.csv&why=tested"
CONTENT = b"time,ph\n2024-03-08T10:00Z,7\n"
FILES = [
    # address, media type, content, status, what the detail must say
    ("/api/v1/imports", "text/csv", CONTENT, 422, "file"),
    (IMPORT, "text/csv", b"", 422, "empty"),
    (IMPORT, "multipart/form-data; boundary=x", b"--x\r\n\r\n" + CONTENT + b"\r\n--x--", 415, "--data-binary"),
    (f"{IMPORT}&device=", "text/csv", CONTENT, 422, "device"),
    (f"{IMPORT}&delimiter=ab", "text/csv", CONTENT, 422, "delimiter"),
    (f"{IMPORT}&dry_run=perhaps", "text/csv", CONTENT, 422, "dry_run"),
    (f"{IMPORT}&mapping_text={'x' * 16_385}", "text/csv", CONTENT, 422, "16384"),
]


@pytest.fixture
async def asking(database_url: str, plant: Plant, tmp_path: Path) -> AsyncIterator[Served]:
    """An engineer's client of an API with a directory for files, and a device with one frame."""
    device = await plant.device("br-1")
    await plant.frames(device, await plant.layout(device, "ph"), [(at(0), [7.0], None)])
    sql = await asyncpg.connect(database_url)
    key = await api_key(sql)
    await sql.close()
    async with serving(database_url, base="http://api", jobs_dir=tmp_path, api_rate=0, api_anonymous_rate=0) as it:
        it.headers.update(bearer(key))
        yield it


async def refused(client: Served, method: str, address: str, status: int, words: str, **sent: Any) -> None:
    async with asyncio.timeout(PATIENCE):
        answer = await client.request(method, address, **sent)
    assert answer.status_code == status, (address, sent, answer.text[:1000])
    problem = assert_problem(answer, status)
    assert words in problem["detail"], (address, problem)


async def test_bad_input_is_told_what_to_change_at_once(asking: Served, plant: Plant, tmp_path: Path) -> None:
    for address, status, words in ADDRESSES:
        await refused(asking, "GET", address, status, words)
    for address, body, status, words in BODIES:
        sent = {"content": body} if isinstance(body, bytes) else {"json": body}
        await refused(asking, "POST", address, status, words, **sent)
    for body, words in CHANGES:
        sent = {"json": {"why": "tested"} | body if isinstance(body, dict) else body}
        await refused(asking, "PATCH", PH, 422, words, **sent)
    for address, media_type, content, status, words in FILES:
        headers = {"content-type": media_type}
        await refused(asking, "POST", address, status, words, content=content, headers=headers)
    assert list(tmp_path.iterdir()) == []
    assert await plant.sql.fetchval("select count(*) from jobs") == 0
