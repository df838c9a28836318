"""`biogate quarantine list | show | replay | discard`: the commands for rejected messages."""

from __future__ import annotations

import asyncio
import logging
import math
import sys
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Annotated, Any

import asyncpg
import msgspec
import structlog
import typer
from pydantic import AnyUrl

from gateway.intake import decode
from gateway.quarantine import clock, resolution
from gateway.quarantine.clock import TimeUnit
from gateway.quarantine.replay import CELL, ROW_TIMEOUT_S, Replay, ReplayResult
from gateway.quarantine.resolution import AuditSignature, QuarantineState, RejectFilter
from gateway.runtime.database import Pool, PoolConnection, create_pool
from gateway.settings import Settings
from schema.command_line import commands, plain, start
from schema.console import Who, Why, database_errors, instant, settings
from schema.errors import Misused
from schema.reasons import Reason

app = commands("List, show, replay and discard rejected messages.")

SHOWN = 4000
"""Most characters of a payload that are shown."""


# -- arguments


def _shift_ms(text: str) -> float | None:
    """Parse --shift, in seconds, to ms; None stands for `auto`."""
    if text == "auto":
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not abs(seconds) < 1e10:  # three centuries
        raise typer.BadParameter("seconds, or auto")
    return seconds * 1000


IdsArgument = Annotated[list[int] | None, typer.Argument(help="numbers as in the list; else the filters choose")]
DevicesOption = Annotated[list[str] | None, typer.Option("--device", help="only of this device; may be repeated")]
ReasonsOption = Annotated[list[Reason] | None, typer.Option("--reason", help="only with this reason; may be repeated")]
SinceOption = Annotated[datetime | None, typer.Option(parser=instant, help="received from this time on")]
UntilOption = Annotated[datetime | None, typer.Option(parser=instant, help="received before this time")]
LimitOption = Annotated[int | None, typer.Option(min=1, help="at most so many messages; without it all")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="only say what would be done")]
ShiftOption = Annotated[
    Any, typer.Option(parser=_shift_ms, help="seconds to add to all times; auto: the error of the device's clock")
]
UnitOption = Annotated[TimeUnit, typer.Option(help="the unit in which the messages give their times")]


# -- commands


@app.command("list")
def list_(
    *,
    device: DevicesOption = None,
    reason: ReasonsOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    state: Annotated[QuarantineState, typer.Option(help="messages in this state")] = QuarantineState.OPEN,
    limit: Annotated[int, typer.Option(min=1, help="at most so many messages")] = 100,
) -> None:
    """List messages in quarantine, newest first; then count those that the quota refused to keep."""
    chosen = RejectFilter(None, device or None, reason or None, since, until)

    async def command(pool: Pool, _: Settings) -> None:
        for row in await resolution.newest(pool, chosen, state, limit):
            fields = row["quarantine_id"], _time(row["received_at"]), row["device"] or "-", row["reason"], row["bytes"]
            typer.echo("\t".join(plain(str(field)) for field in (*fields, row["detail"][:200])))
        for row in await resolution.overflow(pool, chosen):
            what = f"{row['count']} × {row['kind']}, {row['reason']}, of {plain(row['device']) or 'various names'}"
            typer.echo(f"over the quota and not kept: {what}; the last at {_time(row['last_at'])}", err=True)

    _run(command)


@app.command()
def show(ids: Annotated[list[int], typer.Argument(help="numbers as in the list")]) -> None:
    """Show messages in full, with their audit events."""

    async def command(pool: Pool, _: Settings) -> None:
        for number in ids:
            row = await resolution.whole(pool, number)
            if row is None:
                typer.echo(f"{number}: no such message", err=True)
            else:
                _show(row, await resolution.events(pool, number))

    _run(command)


@app.command()
def replay(
    *,
    ids: IdsArgument = None,
    device: DevicesOption = None,
    reason: ReasonsOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    limit: LimitOption = None,
    shift: ShiftOption = "0",
    unit: UnitOption = TimeUnit.MS,
    why: Why,
    who: Who,
    dry_run: DryRunOption = False,
) -> None:
    """Take messages in as if they came now. A message that is rejected again stays open."""
    chosen = _chosen(RejectFilter(ids or None, device or None, reason or None, since, until))
    counts = {True: 0, False: 0}

    async def command(pool: Pool, settings: Settings) -> None:
        tool = Replay(settings, pool, unit)
        await tool.start()
        shifts: dict[int, float] = {}
        if shift is None:
            shifts = await clock.shifts(pool, await resolution.devices(pool, chosen), unit, decide=not dry_run)

        async def settle(connection: PoolConnection, page: list[int]) -> None:
            results: dict[int, ReplayResult] = {}
            for number in page:
                row = await resolution.whole(connection, number)
                shift_ms = shifts.get(number, 0.0) if shift is None else shift
                async with asyncio.timeout(ROW_TIMEOUT_S):
                    results[number] = result = await (tool.look if dry_run else tool.replay)(row, shift_ms)
                counts[not result.rejected] += 1
                typer.echo(f"{number}\t{plain(_told(result, dry_run=dry_run))}")
            if not dry_run:
                await resolution.mark_replayed(connection, results, AuditSignature(who, why))

        _missed(chosen, await resolution.each_page(pool, chosen, limit, settle))
        await tool.merge()

    _run(command)
    would = "would be " if dry_run else ""
    typer.echo(f"{counts[True]} {would}stored, {counts[False]} {would}rejected again", err=True)


@app.command()
def discard(
    *,
    ids: IdsArgument = None,
    device: DevicesOption = None,
    reason: ReasonsOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    limit: LimitOption = None,
    why: Why,
    who: Who,
    dry_run: DryRunOption = False,
) -> None:
    """Throw the payloads of messages away; their rows stay, with hash and reason."""
    chosen = _chosen(RejectFilter(ids or None, device or None, reason or None, since, until))
    word = "would be discarded" if dry_run else "discarded"

    async def command(pool: Pool, _: Settings) -> None:
        async def settle(connection: PoolConnection, page: list[int]) -> None:
            if not dry_run:
                await resolution.discard(connection, page, AuditSignature(who, why))
            for number in page:
                typer.echo(f"{number}\t{word}")

        done = await resolution.each_page(pool, chosen, limit, settle)
        _missed(chosen, done)
        typer.echo(f"{len(done)} {word}", err=True)

    _run(command)


def _run(command: Callable[[Pool, Settings], Coroutine[Any, Any, None]]) -> None:
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    chosen = settings(Settings, mqtt_url=AnyUrl("mqtts://unused"), cell=CELL)

    async def connected() -> None:
        async with create_pool(chosen) as pool:
            await command(pool, chosen)

    with database_errors():
        asyncio.run(connected())


def _chosen(chosen: RejectFilter) -> RejectFilter:
    if not any(chosen):
        raise Misused("no messages chosen: give numbers, or a filter such as --device or --reason")
    return chosen


# -- output


def _missed(chosen: RejectFilter, done: set[int]) -> None:
    for number in sorted(set(chosen.ids or ()) - done):
        typer.echo(f"{number}\tnot open, or not as the filters say", err=True)


def _told(result: ReplayResult, *, dry_run: bool) -> str:
    words = []
    if result.committed:
        words.append(f"committed {result.committed}")
    if result.duplicate:
        words.append(f"duplicate {result.duplicate}")
    if result.rejected:
        words.append(f"still rejected {result.rejected}: {result.why}")
    elif dry_run:
        words.append("would be stored")
    if result.shift_ms:
        words.append(f"shifted by {result.shift_ms / 1000:.3f} s")
    if result.unit is not TimeUnit.MS:
        words.append(f"times in {result.unit}")
    return ", ".join(words)


def _show(row: asyncpg.Record, events: list[asyncpg.Record]) -> None:
    def line(name: str, text: str) -> None:
        typer.echo(f"{name + ':':14}{plain(text)}")

    for name in ("quarantine_id", "received_at", "cell", "device", "topic", "reason", "detail", "content_type"):
        line(name, _time(row[name]))
    line("sha256", row["sha256"].hex())
    line("state", f"{row['state']} {_time(row['settled_at'])}" if row["settled_at"] else row["state"])
    for event in events:
        line("audit", f"{_time(event['at'])} {event['who']} {event['action']}: {event['why']} {event['new']}")
    payload = row["payload"]
    if payload is None:
        line("payload", f"{row['bytes']} bytes, not kept")
    else:
        line("payload", f"{len(payload)} bytes")
        typer.echo(_readable(payload, row["content_type"]))


def _time(value: object) -> str:
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}"[:-3] + "Z"
    return "-" if value is None else str(value)


def _readable(payload: bytes, content_type: str | None) -> str:
    """The payload as JSON if it can be decoded, else in hexadecimal."""
    try:
        if decode.is_json(payload, content_type):
            text = msgspec.json.format(payload, indent=-1).decode()
        else:
            text = msgspec.json.encode(msgspec.msgpack.decode(payload)).decode()
    except Exception:  # a payload that cannot be decoded still has bytes
        text = payload[:SHOWN].hex(" ")
    return plain(text[:SHOWN]) + (" …" if len(text) > SHOWN else "")


if __name__ == "__main__":
    start(app, "biogate quarantine")
