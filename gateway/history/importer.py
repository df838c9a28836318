"""Imports a file: read, plan, then batch after batch along the path of a message: admit, write, commit.

The frames of an import are counted under a cell of their own, have one receipt, and no boot and seq: they are nobody's
delivery, and no alarm looks for them. The age limit does not hold for them; only what retention drops is too old.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import msgspec

from gateway.history import ledger
from gateway.history.batches import HistoryBatch, batches
from gateway.history.errors import UnusableFile
from gateway.history.files import opened_tables
from gateway.history.ledger import ImportedFile, Ledger
from gateway.history.long_tables import long_groups, long_times
from gateway.history.mapping import FileMapping
from gateway.history.recognize import ColumnPlan, TablePlan, recognize
from gateway.history.refused import RefusedCells
from gateway.history.report import ColumnReport, DeviceReport, ImportReport, SkippedReport, TableReport
from gateway.history.samples import FrameGroup, TableTimes, frame_groups, table_times
from gateway.history.tables import OpenFile
from gateway.history.units import FileUnits, stored_units
from gateway.intake.accounting import ItemCounts
from gateway.intake.admit import Admission, Missing
from gateway.intake.registry import Registry
from gateway.items import Delivery, Frame, Item, NoBroker
from gateway.operators.devices import REGISTER
from gateway.runtime.database import Pool, retry_until_it_works
from gateway.settings import IMPORT, Settings
from gateway.storage.quota import Quota
from gateway.storage.transaction import Beside
from gateway.storage.write import Writer
from schema.local_times import Instants
from schema.topics import Kind, topic

READER = 1
"""Version of what decides which frames a file has, in which order. An import begun by another version begins anew."""
DAY_S = 86_400
FOR_EVER_S = 200 * 366 * DAY_S
OWNED = "select name, device_id from devices where name = any ($1) and organization_id = $2"


@dataclass(frozen=True)
class ImportRequest:
    """A file, and what was said about it."""

    path: Path
    name: str
    mapping: FileMapping
    organization: str
    organization_id: int
    who: str
    why: str
    create_devices: bool = False
    job_id: UUID | None = None


@dataclass
class OpenImport:
    """A file that is open, and what was recognized in it."""

    request: ImportRequest
    sha256: bytes
    file: OpenFile
    plans: list[TablePlan]
    times: list[TableTimes]
    devices: dict[str, DeviceReport]
    refusals: RefusedCells = field(default_factory=RefusedCells)

    @property
    def plan(self) -> bytes:
        """Identifies what decides which frames the file has."""
        said = msgspec.json.encode([READER, self.file.form, self.request.mapping])
        return hashlib.sha256(said).digest()

    @property
    def most_frames(self) -> int:
        """As many frames as if no row were empty."""
        found = 0
        for plan, times in zip(self.plans, self.times, strict=True):
            vessels = (
                1
                if plan.device is not None or plan.long is not None
                else len({column.device for column in plan.columns})
            )
            found += vessels * len(times.instants)
        return found

    def groups(self, units: FileUnits) -> Iterator[FrameGroup]:
        """All frames of the file, in the order of its plan. They are counted in `devices`."""
        decimal = self.file.form.decimal or "."
        for plan, times in zip(self.plans, self.times, strict=True):
            if times.long is None:
                groups = frame_groups(plan, times, decimal, self.refusals)
            else:
                groups = long_groups(plan, times.long)
            for group in groups:
                self.devices[group.device].count(group.times, group.samples)
                yield units.converted(group)

    async def units(self, pool: Pool) -> FileUnits:
        """The conversions into the units of the store. Raises UnusableFile if there is none for a column."""
        pairs = [(device, column.channel) for device, column, _ in self._columns()]
        units = await stored_units(pool, self.request.organization_id, pairs)
        for device, column, instants in self._columns():
            units.check(device, column, instants)
        return units

    def _columns(self) -> Iterator[tuple[str, ColumnPlan, Instants]]:
        """Each device with each of its columns, and the times of that table."""
        for plan, times in zip(self.plans, self.times, strict=True):
            for column in plan.columns:
                for device in times.devices if column.device is None else [column.device]:
                    yield device, column, times.instants

    def channels(self) -> dict[str, list[tuple[str, ...]]]:
        """The sets of channels of each device."""
        found: dict[str, list[tuple[str, ...]]] = {name: [] for name in self.devices}
        for plan, times in zip(self.plans, self.times, strict=True):
            for device in times.devices or dict.fromkeys(str(column.device) for column in plan.columns):
                own = tuple(c.channel for c in plan.columns if c.device in (None, device))
                found[device].append(own)
        return found


Progress = Callable[[int, int], None]
"""Told how many frames of the file are settled, and how many it has at most; what it raises ends the import."""


def open_import(request: ImportRequest, kept: ExitStack) -> OpenImport:
    """Read headings and times of the file; it is open until `kept` is closed. Raises UnusableFile."""
    mapping = request.mapping
    with request.path.open("rb") as content:
        sha256 = hashlib.file_digest(content, "sha256").digest()
    file = kept.enter_context(opened_tables(request.path, mapping.form))
    refusals = RefusedCells()
    plans = [recognize(table, mapping) for table in file.tables]
    decimal = file.form.decimal or "."
    times = [
        table_times(plan, mapping, refusals) if plan.long is None else long_times(plan, mapping, decimal, refusals)
        for plan in plans
    ]
    devices: dict[str, DeviceReport] = {}
    for plan, of in zip(plans, times, strict=True):
        for name in of.devices or [str(column.device) for column in plan.columns if column.device is not None]:
            devices.setdefault(name, DeviceReport(name))
    return OpenImport(request, sha256, file, plans, times, devices, refusals)


class HistoryIntake:
    """Turns batches into items, as the intake does with messages of devices."""

    def __init__(self, settings: Settings, pool: Pool) -> None:
        self.registry = Registry(pool, settings.max_channels, settings.max_layouts)
        self._admission = Admission(settings, self.registry)

    async def know(self, channels: Mapping[str, Sequence[tuple[str, ...]]]) -> None:
        """Find the devices, and find or make the layouts of whole tables: a sparse row goes into that of its table."""
        await self.registry.find(channels)
        found = [(self.registry.device(name), sets) for name, sets in channels.items()]
        await self.registry.map((device, one) for device, sets in found if device for one in sets)

    async def items(self, batch: HistoryBatch, received_ms: float) -> list[Item]:
        """The items of a batch, received at this time in ms since 1970."""
        items: list[Item] = []
        for group, payload in zip(batch.groups, batch.payloads, strict=True):
            delivery = Delivery(NoBroker(), 0, topic(group.device, Kind.HISTORY), payload, None, received_ms)
            items += _marked(group, await self._admit(delivery))
        return items

    async def _admit(self, delivery: Delivery) -> Sequence[Item]:
        while True:
            try:
                return self._admission.admit(delivery)
            except Missing as missing:
                await retry_until_it_works({}, "intern layouts", self.registry.map, [missing.wanted])


class Importer:
    """Stores the frames of an open file."""

    def __init__(self, settings: Settings, pool: Pool, opened: OpenImport, chunk_ms: float) -> None:
        self._settings = import_settings(settings)
        self._opened = opened
        self._chunk_ms = chunk_ms
        self._pool = pool
        self._intake = HistoryIntake(self._settings, pool)

    async def run(self, progress: Progress) -> ImportReport:
        """Store what is not settled yet. Raises LeadLost if another process does the same, UnusableFile."""
        request, opened = self._opened.request, self._opened
        device_ids = await ensure_devices(self._pool, opened, create=request.create_devices)
        units = await opened.units(self._pool)
        identity = request.organization_id, request.name, opened.sha256, opened.plan
        file = ImportedFile(*identity, request.who, request.why, request.job_id)
        account = await retry_until_it_works({}, "begin an import", ledger.begin, self._pool, file, device_ids)
        await retry_until_it_works({}, "intern layouts", self._intake.know, opened.channels())
        outcome = await self._store(account, units, progress)
        report = make_report(opened, units, outcome, dry_run=False)
        counts = await retry_until_it_works({}, "count an import", account.counts, self._pool)
        report.stored, report.duplicate, _, report.discarded = counts
        report.rejected = report.frames - report.stored - report.duplicate
        report.resumed_at = account.position
        await retry_until_it_works({}, "end an import", account.finish, self._pool, report)
        return report

    async def _store(self, account: Ledger, units: FileUnits, progress: Progress) -> ItemCounts:
        """Store batch after batch; the next is read while one is written."""
        writer = history_writer(self._settings, self._pool, self._intake.registry, self._chunk_ms, account.settled)
        outcome = ItemCounts()
        left = file_batches(self._settings, self._opened.groups(units), self._chunk_ms, account.position)
        batch = await asyncio.to_thread(next, left, None)
        while batch is not None:
            items = await self._intake.items(batch, account.received_ms)
            account.expect(len(items), batch.end)
            written, following = await asyncio.gather(writer.write(items), asyncio.to_thread(next, left, None))
            outcome += written
            progress(batch.end, self._opened.most_frames)
            batch = following
        return outcome


def history_writer(settings: Settings, pool: Pool, registry: Registry, chunk_ms: float, settled: Beside) -> Writer:
    """Return the writer of an import, whose account `settled` keeps."""
    return Writer(
        pool,
        registry,
        {},
        cell=IMPORT,
        chunk_ms=chunk_ms,
        max_chunks=settings.batch_chunks,
        keep=Quota(settings.quarantine_bytes, settings.quarantine_rows, settings.quarantine_total_bytes).keep,
        imported=settled,
    )


def file_batches(
    settings: Settings, groups: Iterable[FrameGroup], chunk_ms: float, position: int
) -> Iterator[HistoryBatch]:
    """The frames of a file from this position on."""
    return batches(groups, position, settings.batch_frames, chunk_ms, settings.batch_chunks)


def _marked(group: FrameGroup, items: Sequence[Item]) -> Sequence[Item]:
    """The items of a group, whose frames say which channels were not sent: these are null in the message."""
    if group.quality is not None and len(items) == len(group.times):
        for item, quality in zip(items, group.quality.tolist(), strict=True):
            if isinstance(item, Frame):
                item.quality = quality
    return items


def import_settings(settings: Settings) -> Settings:
    """The settings under which history is admitted: of any age that retention leaves."""
    days = settings.retention_frames_days
    return settings.model_copy(update={"max_age_s": days * DAY_S if days else FOR_EVER_S, "cell": IMPORT})


async def ensure_devices(pool: Pool, opened: OpenImport, *, create: bool) -> list[int]:
    """The ids of the file's devices, which are the organization's. Missing ones are created. Raises UnusableFile."""
    request, names = opened.request, list(opened.devices)
    found = dict(await pool.fetch(OWNED, names, request.organization_id))
    missing = [name for name in names if name not in found]
    if missing and create:
        await pool.fetch(REGISTER, missing, request.who, request.why, request.organization)
        found = dict(await pool.fetch(OWNED, names, request.organization_id))
        for name in missing:
            opened.devices[name].is_new = True
        missing = [name for name in names if name not in found]
        if missing:
            raise taken(missing)
    if missing:
        command = f"biogate devices register {' '.join(missing[:20])} --organization {request.organization}"
        raise UnusableFile(
            f"{len(missing)} devices do not exist: {', '.join(missing[:20])}: run `{command}`, or have them created: "
            "--create-devices, create_devices=true"
        )
    return sorted(found.values())


def taken(names: Sequence[str]) -> UnusableFile:
    """The error that devices of others, who may not be told more of them, have these names."""
    return UnusableFile(f"these names cannot be used for new devices: {', '.join(names[:20])}")


def make_report(opened: OpenImport, units: FileUnits, outcome: ItemCounts, *, dry_run: bool) -> ImportReport:
    """What was found, and what became of it by this outcome."""
    file, mapping, refusals = opened.file, opened.request.mapping, opened.refusals
    devices = list(opened.devices.values())
    report = ImportReport(
        opened.request.name,
        opened.sha256.hex(),
        dry_run,
        file.kind,
        mapping.time.zone,
        *(file.form.encoding, file.form.delimiter, file.form.decimal),
        [_table(plan, times, units) for plan, times in zip(opened.plans, opened.times, strict=True)],
        devices,
        frames=sum(device.frames for device in devices),
        samples=sum(device.samples for device in devices),
        reasons={str(reason): count for reason, count in (outcome.reasons + outcome.refused).items()},
        refused=refusals.total,
        refused_by_reason=dict(refusals.counts),
        refused_cells=refusals.named,
    )
    report.stored, report.duplicate = outcome.committed["frame"], outcome.duplicate["frame"]
    report.discarded = outcome.discarded["frame"]
    report.rejected = report.frames - report.stored - report.duplicate
    return report


def _table(plan: TablePlan, times: TableTimes, units: FileUnits) -> TableReport:
    columns = []
    for one in plan.columns:
        stored = one.unit if one.device is None else units.unit(one.device, one.channel)
        columns.append(ColumnReport(one.heading, one.device, one.channel, one.unit, stored))
    skipped = [SkippedReport(*one) for one in plan.skipped]
    shape = "wide" if plan.long is None else "long"
    return TableReport(plan.table.name, len(times.instants), shape, plan.instant_headings, columns, skipped)
