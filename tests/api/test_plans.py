"""The hot queries walk the primary key of frames, with plans for given and for unknown arguments alike: as the API runs
them, with its role, through views that show what is one organization's.

A statement that the API keeps is explained as EXECUTE: of a statement with arguments, EXPLAIN shows the plan for these,
whatever `plan_cache_mode` says. A statement that is planned each time (`fetch_planned`) has no other plan than that."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from api import queries
from api.access.roles import Principal
from api.database import Connection, Server
from api.queries import (
    activity,
    alarm_health,
    alarms,
    audit,
    commands,
    corrections,
    delivery,
    deviations,
    device_cards,
    devices,
    enrollments,
    events,
    evidence,
    jobs,
    lab_samples,
    latest,
    material_balance,
    materials,
    pending_acts,
    plot_hours,
    quarantine,
    reports,
    reviews,
    rule_warnings,
    runs,
    samples,
    search,
    selection,
    serials,
    shift_log,
    status,
    telemetry,
    telemetry_at,
)
from api.queries import annotations as annotation_queries
from api.queries.run_times import PlacedQuestion
from api.settings import ApiSettings
from api.shapes.alarms import AlarmParameters, HistoryParameters, SilencedParameters
from api.shapes.audit import AuditFilter
from api.shapes.deviations import DeviationFilter
from api.shapes.devices import DeviceParameters
from api.shapes.enrollments import EnrollmentParameters
from api.shapes.jobs import JobParameters
from api.shapes.lab_samples import SampleParameters
from api.shapes.materials import MaterialParameters, SumParameters
from api.shapes.reports import ReportParameters
from api.shapes.reviews import ReviewParameters
from api.shapes.runs import RunListParameters
from api.shapes.search import SearchFilter
from api.shapes.selection import SelectionParameters
from api.shapes.serials import SerialParameters
from api.shapes.shift_log import ShiftLogParameters
from schema import times
from tests.api.accounts import organization
from tests.api.alarms import become
from tests.api.alarms import rule as alarm_rule
from tests.api.plant import Plant, at

END = at(6 * 86400)
HOUR = timedelta(hours=1)
BIG = (10**9, b"\xff" * 65)
LAST_COMMAND = UUID(int=2**128 - 1)
FOAM = "'foam':*"
OWN = list(range(1, 41, 2))
"""Ids of the devices of the organization that is asking."""

QUERIES: dict[str, tuple[str, tuple[Any, ...]]] = {
    "one channel": (telemetry.SQL["one_channel"], (1, at(0), 0, END, [1], [1], False, 1000)),
    "many channels": (telemetry.SQL["many_channels"], (1, at(0), 0, END, [1, 1], [1, 2], False, 1000)),
    "samples of one channel": (samples.SQL["one_layout"], (1, at(0), at(3600), 1, 1, False, 1000)),
    "samples of a channel of two layouts": (samples.SQL["layouts"], (1, at(0), at(3600), [1, 2], [1, 1], True, 1000)),
    "hours of a plot": (plot_hours.SQL["hours"], (1, 1, at(0), END)),
    "first times of a channel": (samples.SQL["first_times"], (1, at(0), END, [1], [1], 200, None)),
    "last times of a channel": (samples.SQL["last_times"], (1, at(0), END, [1], [1], 200, None)),
    "samples before instants": (
        telemetry_at.SQL["before"],
        (1, [at(60), at(90)], [1], [1], HOUR, False, at(60) - HOUR, at(90) + HOUR),
    ),
    "samples after instants": (
        telemetry_at.SQL["after"],
        (1, [at(60), at(90)], [1], [1], HOUR, False, at(60) - HOUR, at(90) + HOUR),
    ),
    "phases of a run": (runs.SQL["phase_events"], ([1, 3], at(0), END, 100)),
    "runs of devices": (runs.SQL["of_devices"], (["br-1", "br-3"], at(1800))),
    "phases of devices": (selection.SQL["phases"], ([1, 3], "batch", at(0), END)),
    "latest of one": (latest.SQL["one"], ("br-1", HOUR, END - HOUR)),
    "latest of one, silent": (latest.SQL["one"], ("br-1", HOUR, times.FIRST)),
    "latest of many": (latest.SQL["many"], (OWN, HOUR, END - HOUR)),
    "latest of many, silent": (latest.SQL["many"], (OWN, HOUR, times.FIRST)),
    "latest, older": (latest.SQL["older"], ([1, 3], [1, 1], [1, 2], [END, END], [END - HOUR] * 2, False, END - HOUR)),
    "latest, oldest": (
        latest.SQL["oldest"],
        ([1, 3], [1, 1], [1, 2], [END, END], [END - HOUR] * 2, False, END - HOUR),
    ),
    "devices": (devices.SQL["page"], ("", 100, None, None, None, None, None)),
    "devices, filtered": (devices.SQL["page"], ("", 100, ["active"], ["pilot"], "Hall 2", "br", False)),
    "device": (devices.SQL["one"], ("br-1",)),
    "extent": (devices.SQL["extent"], (1,)),
    "status": (status.SQL["status"], ("br-1", END - HOUR)),
    "status, silent": (status.SQL["status"], ("br-1", times.FIRST)),
    "completeness": (status.SQL["completeness"], (1, END - HOUR, END)),
    "annotations": (annotation_queries.SQL["page"], (1, at(0), END, END, BIG[0], 100)),
    "events": (events.SQL["events"], (1, at(0), at(3600), at(3600), BIG[1], None, 100)),
    "quarantine": (quarantine.SQL["quarantine"], (["malformed"], ["open"], at(0), at(9e6), at(9e6), BIG[0], 100, 1000)),
    "quarantine of devices": (
        quarantine.SQL["quarantine_of_devices"],
        (["malformed"], ["open"], at(0), at(9e6), at(9e6), BIG[0], 100, 1000, ["br-1"]),
    ),
}
"""That are kept."""
PLANNED: dict[str, tuple[str, tuple[Any, ...]]] = {
    "activity": (activity.SQL["page"], (sorted(activity.NEEDS), None, times.FIRST, times.LAST, times.LAST, "", 5)),
    "activity of a device": (activity.SQL["page"], (["event"], ["br-1"], times.FIRST, times.LAST, times.LAST, "", 100)),
    "audit": (audit.SQL["newest_first"], (None, None, None, times.FIRST, times.LAST, BIG[0], 100)),
    "audit of a device": (audit.SQL["newest_first"], ("device/br-2", None, None, times.FIRST, times.LAST, BIG[0], 100)),
    "audit, oldest first": (audit.SQL["oldest_first"], (None, None, None, times.FIRST, times.LAST, 0, 100)),
    "evidence: rows": (evidence.SQL["events"], (100, 10**6, 1000)),
    "evidence: frames": (evidence.SQL["frames"], (1, at(0), 0, END, 1000)),
    "delivery of a day": (delivery.SQL["span"], (END - 24 * HOUR, END)),
    "quarantine of a day": (delivery.SQL["quarantined"], (END - 24 * HOUR, END, ["malformed", "too-old"])),
    "holes of a device": (delivery.SQL["holes"], ("br-1", 200)),
    "runs": (runs.SQL["page"], (times.LAST, runs.LAST_ID, 100, None, None, None, None, None)),
    "runs, filtered": (runs.SQL["page"], (times.LAST, runs.LAST_ID, 100, ["complete"], "br-1", "mAb", "CHO", "%B-%")),
    "serials of an import": (serials.SQL["serials"], ("plant-north", "S-1", 100, None)),
    "commands": (commands.SQL["page"], (1, None, times.LAST, LAST_COMMAND, 100)),
    "commands that wait": (commands.SQL["page"], (1, ["waiting"], times.LAST, LAST_COMMAND, 100)),
    "reports": (reports.SQL["page"], (None, None, times.LAST, LAST_COMMAND, 100)),
    "reports of a run": (reports.SQL["page"], ("batch", "B-7", times.LAST, LAST_COMMAND, 100)),
    "corrections of a device": (corrections.SQL["page"], (1, at(0), END, BIG[0], 100, None, None)),
    "jobs": (jobs.SQL["page"], (None, None, times.LAST, LAST_COMMAND, 100)),
    "enrollments": (enrollments.SQL["page"], (None, None, times.LAST, enrollments.LAST_TXN, 5)),
    "enrollments of a serial": (enrollments.SQL["page"], (None, "s-1", times.LAST, enrollments.LAST_TXN, 100)),
    "deviations": (deviations.SQL["page"], (BIG[0], 100, *[None] * 7)),
    "deviations of a device": (deviations.SQL["page"], (BIG[0], 100, ["open"], None, None, "br-1", None, None, None)),
    "search": (search.SQL["texts"], (FOAM, sorted(search.NEEDS), None, times.FIRST, times.LAST, 50, 99)),
    "search of a device": (search.SQL["texts"], (FOAM, sorted(search.NEEDS), "br-1", times.FIRST, times.LAST, 50, 99)),
    "search in events": (search.SQL["events"], (FOAM, ["event"], None, at(0), END, 50, 2000, ["%foam%"])),
    "phases of all devices": (rule_warnings.SQL["devices"], (50,)),
    "lab samples": (lab_samples.SQL["page"], (None, at(0), END, None, None, False, END, BIG[0], 100, None)),
    "lab samples of a device": (
        lab_samples.SQL["page"],
        (["br-1"], at(0), END, "glucose", "taken", False, END, BIG[0], 100, None),
    ),
    "materials": (materials.SQL["page"], (None, at(0), END, None, False, END, BIG[0], 100)),
    "materials of a device": (materials.SQL["page"], (["br-1"], at(0), END, ["feed"], False, END, BIG[0], 100)),
    "sums of material": (materials.SQL["sums"], (["br-1"], at(0), END)),
    "transitions": (alarms.SQL["history"], (times.FIRST, times.LAST, BIG[0], None, None, None, None, 100)),
    "transitions of a device": (
        alarms.SQL["history"],
        (times.FIRST, times.LAST, BIG[0], ["br-1"], None, None, None, 100),
    ),
}
"""That are planned each time."""
HARMLESS = {
    *("devices.page", "alarm_rules.page", "alarm_rules.covered", "plant.vessels"),
    *("events.events", "alarm_health.now", "alarm_health.stale"),
    *("device_status.presence", "live_data.devices", "plant.vessels"),
    *("exports.frames", "exports.parts", "samples.first_times", "samples.last_times", "devices.said"),
}
"""What may be left out is no better found by an index there, or there is little to look through."""
OPTIONAL = re.compile(r"\$\d+(::\w+(\[\])?)? is null")


async def fill(plant: Plant) -> None:
    """Twenty devices of this organization and twenty of another, six days: enough that reading a whole chunk costs more
    than the index."""
    north = await organization(plant.sql, "north")
    for number in range(1, 41):
        await plant.layout(await plant.device(f"br-{number}"), "temperature", "ph")
    await plant.sql.execute("update devices set organization_id = $1 where device_id % 2 = 0", north)
    await plant.sql.execute("update devices set location = 'Hall 2/Bay ' || device_id, tags = '{pilot}'")
    await plant.sql.execute(
        "insert into frames select t, d, 1, 1, extract(epoch from t), t, array[1, 2] from generate_series("
        "$1::timestamptz, $1::timestamptz + interval '6 days', interval '1 min') t, generate_series(1, 40) d",
        at(0),
    )
    await plant.sql.execute(
        "insert into plot_hours (device_id, channel_id, hour) select d, c, t from generate_series(1, 40) d,"
        " generate_series(0, 2) c, generate_series($1::timestamptz, $1::timestamptz + interval '6 days', '1 h') t",
        at(0),
    )
    for device in OWN:
        await plant.imported(device, 1, [at(-60)])
    await plant.sql.execute(
        "insert into device_events select t, d, 'phase', jsonb_build_object('phase', 'batch'), 1, t,"
        " sha256(d::text::bytea) from generate_series("
        "$1::timestamptz, $1::timestamptz + interval '6 days', interval '10 min') t, generate_series(1, 40) d",
        at(0),
    )
    await plant.sql.execute(
        "insert into quarantine (received_at, device, topic, reason, detail, payload, sha256) select t,"
        " 'br-' || extract(minute from t), 'x', 'malformed', '', '', sha256(t::text::bytea) from generate_series("
        "$1::timestamptz, $1::timestamptz + interval '6 days', interval '1 min') t",
        at(0),
    )
    await plant.sql.execute(
        "insert into annotations (device_id, begins, text, who) select d, t, 'x', 'eva' from generate_series("
        "$1::timestamptz, $1::timestamptz + interval '6 days', interval '1 hour') t, generate_series(1, 40) d",
        at(0),
    )
    await plant.sql.execute(
        "insert into audit (organization_id, who, action, subject, why) select 1 + n % 2, 'eva', 'device change',"
        " 'device/br-' || n % 40, 'x' from generate_series(1, 4000) n"
    )
    await plant.sql.execute("set session_replication_role = replica")  # no triggers: neither audited nor told
    await plant.sql.execute(
        "insert into commands (organization_id, device_id, name, state, requested_by, why, requested_at, expires_at)"
        " select 1, 1 + n % 20 * 2, 'set', 'done', 'eva', 'x', $1::timestamptz + n * interval '1 s', 'infinity'"
        " from generate_series(1, 5000) n",
        at(0),
    )
    await plant.sql.execute(
        "insert into jobs (job_id, organization_id, who, kind, request, state, created_at, finished_at)"
        " select gen_random_uuid(), 1 + n % 2, 'eva', 'export', '{}', 'done', t, t"
        " from generate_series(1, 5000) n, lateral (select $1::timestamptz + n * interval '1 s') x (t)",
        at(0),
    )
    await plant.sql.execute(
        "insert into serials (serial, device) select 's-' || n, 'd-' || n from generate_series(1, 5000) n"
    )
    await plant.sql.execute(
        "insert into enrollments (txn, cell, serial, identity_key, claim_version, state, hello, challenge, transcript,"
        " created_at, changed_at, expires_at)"
        " select md5(n::text), 'main', 's-' || n % 5000, sha256(''), 1, 'rejected', '', '', '', t, t, t"
        " from generate_series(1, 10000) n, lateral (select $1::timestamptz + n * interval '1 s') x (t)",
        at(0),
    )
    await plant.sql.execute(
        "insert into lab_samples (organization_id, sample, version, act, device_id, taken_at, status, source, who, why)"
        " select 1, 's-' || n, 1, 'take', 1 + n % 20 * 2, $1::timestamptz + n * interval '1 min', 'taken', 'person',"
        " 'eva', 'x' from generate_series(1, 5000) n",
        at(0),
    )
    await plant.sql.execute(
        "insert into materials (organization_id, number, version, act, device_id, kind, material, quantity, unit,"
        " begins, source, who, why) select 1, n, 1, 'add', 1 + n % 20 * 2, 'feed', 'x', 1, 'mL',"
        " $1::timestamptz + n * interval '1 min', 'person', 'eva', 'x' from generate_series(1, 5000) n",
        at(0),
    )
    await plant.sql.execute(
        "insert into deviations (organization_id, year, n, title, severity, opened_by)"
        " select 1 + n % 2, 2026, n, 'x', 'minor', 'eva' from generate_series(1, 5000) n"
    )
    await plant.sql.execute(
        "insert into deviation_links (deviation_id, type, kind, reference, device_id, who, why)"
        " select deviation_id, 'seen-in', 'device', 'br-' || n % 40, 1 + n % 40, 'eva', 'x' from deviations"
    )
    await plant.sql.execute(
        "insert into runs (organization_id, name, state, begins, ends, created_by)"
        " select 1 + n % 2 * ($2::int - 1), 'B-' || n, 'complete', $1::timestamptz + n * interval '1 h',"
        " $1::timestamptz + (n + 1) * interval '1 h', 'eva'"
        " from generate_series(0, 9999) n",
        *(at(0), north),
    )
    await plant.sql.execute(
        "insert into run_devices select run_id, 1 + (run_id - 1) % 40, organization_id, begins, ends from runs"
    )
    await plant.sql.execute(
        "insert into reports (report_id, organization_id, kind, run_id, title, subtitle, begins, ends, template,"
        " template_version, made_by, made_at, document, html, no_pdf)"
        " select gen_random_uuid(), organization_id, 'batch', run_id, 'x', 'x', begins, ends, 'batch', 0, 'eva', ends,"
        " 'x', 'x', 'x' from runs"
    )
    rule_id = await alarm_rule(plant.sql, "hot")
    for device_id in OWN:
        await become(plant.sql, rule_id, device_id)
    await plant.sql.execute(
        "insert into alarm_transitions (rule_id, device_id, n, organization_id, at, cause, before, after, condition,"
        " priority, detail)"
        " select $1, 1 + n % 20 * 2, n, 1, $2, 'condition', 'normal', 'acknowledged', 'active', 'low', ''"
        " from generate_series(2, 5001) n",
        *(rule_id, at(0)),
    )
    await plant.sql.execute("set session_replication_role = origin")
    await plant.sql.execute("analyze")


@pytest.fixture
async def filled(module_database_url: str, module_key: str) -> AsyncIterator[Connection]:
    """As the first organization sees it."""
    async with Server(ApiSettings(database_url=module_database_url)) as server, server.of(1).connection() as connection:
        yield connection


def literal(value: Any) -> str:
    """As PostgreSQL reads it where its type is known."""
    if value is None:
        return "null"
    if isinstance(value, list):
        return "'{" + ",".join(literal(one).replace("'", '"') for one in value) + "}'"
    if isinstance(value, bytes):
        return rf"'\x{value.hex()}'"
    return f"'{value.total_seconds()} s'" if isinstance(value, timedelta) else f"'{value}'"


async def kept_plan(connection: Connection, statement: str, arguments: tuple[Any, ...]) -> str:
    """Of a statement that is kept, under the `plan_cache_mode` that rules."""
    prepared = await connection.prepare(statement)
    given = ", ".join(map(literal, arguments))
    rows = await connection.fetch(f"explain (costs off) execute {prepared.get_name()} ({given})")
    return "\n".join(row[0] for row in rows)


def check(name: str, plan: str) -> None:
    tables = "_hyper|frames|device_events|quarantine|annotations|audit|commands|jobs|enrollments|alarm_transitions|runs"
    tables += "|lab_samples|materials|deviations|reports"
    tables = "_hyper|frames|device_events|quarantine|annotations|audit|commands|jobs|enrollments|alarm_transitions"
    tables += "|deviations|runs|lab_samples|materials"
    assert not re.search(rf"Seq Scan on ({tables})", plan), f"{name}\n{plan}"
    assert "Index" in plan, f"{name}\n{plan}"
    if "channel" in name:
        assert "Sort  " not in plan, f"{name}\n{plan}"
        assert not re.search(r"-> +Sort$|^ *Sort$", plan, re.MULTILINE), f"{name}\n{plan}"


@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
async def test_hot_queries_use_the_index_and_sort_no_frames(filled: Connection, mode: str) -> None:
    await filled.execute(f"set plan_cache_mode = {mode}")
    for name, (statement, arguments) in QUERIES.items():
        assert await filled.fetch(statement, *arguments), name
        plan = await kept_plan(filled, statement, arguments)
        assert mode == "force_custom_plan" or re.search(r"\$\d", plan), f"{name}\n{plan}"
        check(name, plan)


async def test_lists_with_filters_use_an_index_whatever_is_left_out(filled: Connection) -> None:
    for name, (statement, arguments) in PLANNED.items():
        rows = await filled.fetch(f"explain (costs off) {statement}", *arguments)
        check(name, "\n".join(row[0] for row in rows))


async def test_no_statement_with_filters_that_may_be_left_out_is_kept(plant: Plant, database_url: str) -> None:
    """Its one plan for all arguments would take minutes where another takes milliseconds."""
    await plant.device("br-1")
    async with Server(ApiSettings(database_url=database_url, api_pool_size=2)) as server:
        database = server.of(1)
        for order in ("asc", "desc"):
            await audit.page(database, AuditFilter.model_validate({"order": order}), None, 10)
        await commands.page(database, 1, None, (times.LAST, LAST_COMMAND), 10)
        await enrollments.page(database, EnrollmentParameters(), (times.LAST, enrollments.LAST_TXN), 10)
        await alarms.page(database, AlarmParameters(), ("", ""), 10)
        await alarms.silenced(database, SilencedParameters(), ("", ""), 10)
        await alarms.urgent(database, alarms.Urgent(), 10)
        await alarms.history(database, HistoryParameters(), alarms.LAST_ID, 10)
        await alarm_health.figures(database, times.Span(at(0), at(3600)), None, at(3600))
        await devices.page(database, DeviceParameters(), "", 10)
        await selection.resolve(database, SelectionParameters(device=["*"]))
        await activity.newest(database, 10)
        await jobs.page(database, JobParameters(), (times.LAST, LAST_COMMAND), 10)
        await reports.page(database, ReportParameters(), (times.LAST, LAST_COMMAND), 10)
        await reviews.page(database, ReviewParameters(), reviews.LAST_NUMBER, 10)
        await pending_acts.page(database, None, BIG[0], 10)
        await deviations.page(database, DeviationFilter(), Principal("eva", "key", 1, "main", None), BIG[0], 10)
        await search.search(database, SearchFilter(q="foam"), sorted(search.NEEDS), 10)
        await shift_log.page(database, ShiftLogParameters(), (times.LAST, BIG[0]), 10)
        await device_cards.due(database)
        await delivery.holes(database)
        await lab_samples.page(
            database, PlacedQuestion(SampleParameters(), None), (times.LAST, lab_samples.LAST_ID), 10
        )
        await materials.page(database, PlacedQuestion(MaterialParameters(), None), (times.LAST, materials.LAST_ID), 10)
        await material_balance.sums(database, PlacedQuestion(SumParameters(), None))
        await serials.serials(database, SerialParameters.model_validate({}), "", 10)
        await runs.page(database, RunListParameters(), (times.LAST, runs.LAST_ID), 10)
        wanted = {"as_of": None, "channel": None}
        await corrections.page(database, 1, times.Span(at(0), at(9)), corrections.LAST_ID, 10, **wanted)
        await corrections.holding(database, ["br-1"], times.Span(at(0), at(9)))
        rows = await database.fetch("select statement from pg_prepared_statements")
    files = Path(queries.__file__).parent.glob("*.sql")
    named = {f"{file.stem}.{name}": text for file in files for name, text in queries.load(file.stem).items()}
    kept = {name for name, text in named.items() if text in {row["statement"] for row in rows}}
    assert "devices.page" in kept
    optional = {name for name, text in named.items() if OPTIONAL.search(text)}
    planned = {"audit.newest_first", "audit.oldest_first", "commands.page", "enrollments.page", "alarms.page"}
    planned |= {
        "jobs.page",
        "delivery.holes",
        "serials.serials",
        "deviations.page",
        "shift_log.page",
        "device_cards.due",
        "search.texts",
        "search.events",
        "alarms.history",
        "alarms.silenced",
        "alarms.urgent",
        "alarm_health.episodes",
        "selection.devices",
        "activity.page",
        *("lab_samples.page", "materials.page", "materials.sums"),
        "runs.page",
        "reports.page",
        "reviews.page",
        *("corrections.page", "corrections.holding"),
        "pending_acts.page",
    }
    assert not kept & planned
    assert optional == planned | HARMLESS, "a new one: fetch_planned, or harmless?"


async def test_a_range_over_days_is_read_chunk_by_chunk_in_order(filled: Connection) -> None:
    """A page at the begin of a long range must not read, or sort, the rest of it."""
    statement = telemetry.SQL["one_channel"]
    rows = await filled.fetch(
        f"explain (analyze, costs off, timing off, summary off) {statement}",
        *(1, at(0), 0, at(6 * 86400), [1], [2], False, 100),
    )
    plan = "\n".join(row[0] for row in rows)
    assert "Sort" not in plan, plan
    assert plan.count("never executed") >= 4, plan


@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
async def test_the_latest_of_devices_that_send_is_read_from_the_newest_chunk(filled: Connection, mode: str) -> None:
    """However many chunks there are: looking into each costs more than the rest of the answer."""
    await filled.execute(f"set plan_cache_mode = {mode}")
    for name in ("latest of one", "latest of many", "latest, older", "latest, oldest"):
        plan = await kept_plan(filled, *QUERIES[name])
        newest = await filled.fetchval("select max(show_chunks::text) from show_chunks('public.frames')")
        assert {newest.split(".")[-1]} == set(re.findall(r"on (_hyper_1_\d+_chunk)", plan)), f"{name}\n{plan}"


READ = re.compile(r"_hyper_\S+_chunk.*actual rows=([\d.]+) loops=(\d+)")


@pytest.mark.parametrize("name", ["latest of one", "latest of many", "latest, oldest"])
async def test_what_is_read_for_the_latest_does_not_grow_with_the_layouts_of_a_device(plant: Plant, name: str) -> None:
    device = await plant.device("br-1")
    layouts = [await plant.layout(device, f"channel-{n}", "ph") for n in range(64)]
    await plant.sql.execute(
        "insert into frames select t, $1, $2, 1, 1, t, array[1, null] from generate_series("
        "$3::timestamptz, $3::timestamptz + interval '59 min', interval '1 s') t",
        *(device, layouts[3], at(0)),
    )
    await plant.sql.execute("analyze frames")
    newest = at(59 * 60)
    statement, arguments = {
        "latest of one": (latest.SQL["one"], ("br-1", HOUR, at(0))),
        "latest of many": (latest.SQL["many"], ([device], HOUR, at(0))),
        "latest, oldest": (
            latest.SQL["oldest"],
            ([device] * 64, layouts, [2] * 64, [newest] * 64, [at(0)] * 64, False, at(0)),
        ),
    }[name]
    await plant.sql.execute("set search_path = api, public; set biogate.organization = '1'")
    rows = await plant.sql.fetch(f"explain (analyze, timing off, costs off, summary off) {statement}", *arguments)
    plan = "\n".join(row[0] for row in rows)
    read = sum(round(float(count) * int(loops)) for count, loops in READ.findall(plan))
    assert 3540 <= read < 2 * 3541, plan
    assert not re.search(r"Rows Removed by (Filter|Index Recheck): \d{4}", plan), plan
