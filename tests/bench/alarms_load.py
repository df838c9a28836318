"""Alarms under load: `python -m tests.bench.alarms_load`. 1,000 devices × 10 rules at 1 Hz through broker and gateway.

Says how long it takes from a publication to the transition it makes being stored, and what the evaluator and its
backends in PostgreSQL cost. The values are noise; one rule of the ten fires for a hundredth of the frames.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import asyncpg
import typer

from schema.alarms.rules import Rule
from tests.bench.meters import Cpu, peak_mb
from tests.bench.plant import Load, LoadProcess, plant
from tests.processes import AlarmsProcess, wait_until

SETTLE_S = 10
DELAYS: dict[str, Any] = {"on_delay": 10, "off_delay": 30}
WHEN: list[dict[str, Any]] = [
    {"kind": "limit", "channel": "channel_001", "level": "low", "limit": 10, "deadband": 5},
    {"kind": "deviation", "channel": "channel_002", "setpoint": "channel_003", "limit": 70},
    {"kind": "rate", "channel": "channel_004", "limit": 1e5, "window": 60},
    {"kind": "frozen", "channel": "channel_005", "after": 60},
    {"kind": "quality", "channel": "channel_006"},
    {"kind": "silent", "after": 60},
    {"kind": "gap", "frames": 3},
    {"kind": "skew", "limit": 5},
    {"kind": "formula", "expression": "channel_007 > 50 and (channel_008 < 0 or channel_009 > 90)"},
]
FIRES = {"kind": "limit", "channel": "channel_000", "level": "high", "limit": 79.4}

BACKENDS = """
select pid, application_name from pg_stat_activity
 where datname = current_database() and application_name like 'biogate-alarms%'"""
LAG = """
select count(*), percentile_cont(array[0.5, 0.99, 1]) within group (order by extract(epoch from recorded_at - at))
  from alarm_transitions where cause = 'condition' and at > $1"""


def rules(count: int) -> list[Rule]:
    made: list[dict[str, Any]] = [{"name": "fires", "title": "fires", "when": FIRES}]
    for n in range(count - 1):
        when = WHEN[n % len(WHEN)]
        made.append({"name": f"rule-{n}", "title": when["kind"], "when": when, **DELAYS})
    return [Rule.model_validate(rule) for rule in made]


async def save(url: str, made: Sequence[Rule]) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute("select set_config('biogate.organization', '1', false)")
    for rule in made:
        definition = rule.model_dump_json(exclude={"name"})
        put = "select api.alarm_rule_put($1, $2, null, 'bench', 'measure')"
        await connection.execute(put, rule.name, definition)
    await connection.close()


async def measure(devices: int, count: int, seconds: int, rate: float) -> None:
    load = Load(devices=devices, frames=int(devices * rate * (SETTLE_S + seconds)), rate=devices * rate, warm_up=1)
    with plant() as bench, tempfile.TemporaryDirectory() as directory, bench.broker(devices) as broker:
        async with bench.database(devices) as url:
            await save(url, rules(count))
            gateway = bench.gateway(url, broker)
            alarms = AlarmsProcess(url, broker.url, Path(directory) / "alarms.log")
            alarms.forked = False
            alarms.environment |= gateway.environment | alarms.environment
            connection = await asyncpg.connect(url)
            try:
                gateway.start()
                alarms.start()
                with LoadProcess(broker.port, load) as process:
                    process.wait_ready()
                    process.go()
                    time.sleep(SETTLE_S)
                    begun = await connection.fetchval("select clock_timestamp()")
                    backends = dict(await connection.fetch(BACKENDS))
                    pids = {"evaluator": alarms.child.pid, "gateway": gateway.child.pid}
                    cpu = Cpu(pids | {f"backend {pid}": pid for pid in backends})
                    before, at = alarms.metrics(), time.monotonic()
                    time.sleep(seconds - 2)
                    used, took, after = cpu.used_s(), time.monotonic() - at, alarms.metrics()
                    process.result()
                published = await connection.fetchval("select count(*) from frames")
                wait_until(lambda: alarms.metrics()["biogate_alarm_frames_evaluated_total"] >= published - devices, 60)
                fired, lags = await connection.fetchrow(LAG, begun)
                in_database = sum(seconds for name, seconds in used.items() if name.startswith("backend"))
                frames = "biogate_alarm_frames_evaluated_total"
                print(
                    json.dumps(
                        {
                            "devices": devices,
                            "rules": count,
                            "frames_per_s": round((after[frames] - before[frames]) / took),
                            "raised": fired,
                            "publish_to_stored_ms": dict(
                                zip(("p50", "p99", "max"), [round(1000 * lag) for lag in lags], strict=True)
                            ),
                            "evaluator_core_percent": round(100 * used["evaluator"] / took, 1),
                            "its_backends_core_percent": round(100 * in_database / took, 1),
                            "gateway_core_percent": round(100 * used["gateway"] / took, 1),
                            "evaluator_peak_mb": round(peak_mb(alarms.child.pid)),
                        },
                        indent=2,
                    )
                )
            finally:
                await connection.close()
                alarms.kill()
                gateway.kill()


def main(
    devices: Annotated[int, typer.Option(min=1)] = 1000,
    rule_count: Annotated[int, typer.Option("--rules", min=1)] = 10,
    seconds: Annotated[int, typer.Option(min=10)] = 60,
    rate: Annotated[float, typer.Option(help="frames a second of each device")] = 1.0,
) -> None:
    """Measure once."""
    asyncio.run(measure(devices, rule_count, seconds, rate))


if __name__ == "__main__":
    typer.run(main)
