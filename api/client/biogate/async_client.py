"""The client whose answers are awaited."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack

from biogate import calls, export, lab, records, reports, signatures
from biogate import evidence as proofs
from biogate import runs as run_flows
from biogate.asking import Flow, Patience
from biogate.client import PATIENCE_S, TIMEOUT_S, WAIT_S
from biogate.evidence import ReviewInfo
from biogate.export import ExportedFile, ExportOptions, OnProgress, Target
from biogate.infos import AlarmInfo, AnnotationInfo, ChannelInfo, DeviceInfo, EventInfo, NewestValue
from biogate.lab import LabTable
from biogate.login import login
from biogate.questions import (
    LatestOptions,
    Names,
    TelemetryOptions,
    When,
    Width,
    live_parameters,
    names,
    span,
    width,
)
from biogate.records import CorrectionInfo, CorrectionOptions, DeviationInfo, FoundText
from biogate.runs import AlignedRuns, AlignOptions, EnvelopeOptions, PhaseInfo, RunInfo, RunScore
from biogate.signatures import PendingActInfo, RecordInfo, SignatureInfo
from biogate.transport import AsyncTransport

if TYPE_CHECKING:
    import pandas as pd

    from biogate.live import LiveUpdate
    from biogate.table import TelemetryTable

T = TypeVar("T")


class AsyncClient:
    """The same as `Client`, with the same methods and arguments, to be awaited in an event loop."""

    def __init__(
        self,
        url: str | None = None,
        *,
        key: str | None = None,
        key_file: str | Path | None = None,
        ca_file: str | Path | None = None,
        timeout: float = TIMEOUT_S,
        patience: float = PATIENCE_S,
    ) -> None:
        self._login = login(url, key, key_file, ca_file)
        self._transport = AsyncTransport(self._login, timeout)
        self._patience_s = patience

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._login.url}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._transport.close()

    async def _run(self, flow: Flow[T]) -> T:
        return await self._transport.run(flow)

    async def get(self, path: str, **parameters: Any) -> Any:
        """See `Client.get`."""
        return await self._run(calls.read(path, parameters, Patience(self._patience_s)))

    async def devices(
        self, *, tag: Names | None = None, location: str | None = None, online: bool | None = None, q: str | None = None
    ) -> list[DeviceInfo]:
        """See `Client.devices`."""
        found = {"tag": names(tag), "location": location, "online": online, "q": q}
        return await self._run(calls.devices(found, self._patience_s))

    async def channels(self, device: str) -> list[ChannelInfo]:
        """See `Client.channels`."""
        return await self._run(calls.channels(device, self._patience_s))

    async def latest(
        self, devices: Names | None = "*", channels: Names | None = None, **options: Unpack[LatestOptions]
    ) -> list[NewestValue]:
        """See `Client.latest`."""
        return await self._run(calls.latest(devices, channels, options, self._patience_s))

    async def telemetry(
        self, devices: Names | None = None, channels: Names | None = None, **options: Unpack[TelemetryOptions]
    ) -> TelemetryTable:
        """See `Client.telemetry`."""
        return await self._run(calls.telemetry(devices, channels, options, self._patience_s))

    async def events(
        self,
        device: str,
        *,
        type: str | None = None,
        from_: When | None = None,
        to: When | None = None,
        most: int | None = None,
    ) -> list[EventInfo]:
        """See `Client.events`."""
        return await self._run(calls.events(device, span(from_, to) | {"type": type}, most, self._patience_s))

    async def annotations(
        self, device: str, *, from_: When | None = None, to: When | None = None
    ) -> list[AnnotationInfo]:
        """See `Client.annotations`."""
        return await self._run(calls.notes(device, span(from_, to), self._patience_s))

    async def annotate(self, device: str, text: str, begins: When, ends: When | None = None) -> AnnotationInfo:
        """See `Client.annotate`."""
        return await self._run(calls.annotate(device, text, begins, ends, self._patience_s))

    async def corrections(
        self, device: str, *, channel: str | None = None, from_: When | None = None, to: When | None = None
    ) -> list[CorrectionInfo]:
        """See `Client.corrections`."""
        found = {**span(from_, to), "channel": channel}
        return await self._run(records.corrections(device, found, self._patience_s))

    async def correct(
        self, device: str, channel: str, from_: When, to: When, why: str, **options: Unpack[CorrectionOptions]
    ) -> CorrectionInfo:
        """See `Client.correct`."""
        said = {"channel": channel, "why": why, **span(from_, to)}
        return await self._run(records.correct(device, said, options, self._patience_s))

    async def withdraw_correction(self, device: str, correction: int, why: str) -> CorrectionInfo:
        """See `Client.withdraw_correction`."""
        return await self._run(records.withdraw_correction(device, correction, why, self._patience_s))

    async def samples(
        self,
        *,
        device: str | None = None,
        run: str | None = None,
        analyte: str | None = None,
        status: str | None = None,
        from_: When | None = None,
        to: When | None = None,
        channels: Names | None = None,
        method: str | None = None,
        max_age: Width | None = None,
    ) -> LabTable:
        """See `Client.samples`."""
        found = {"device": device, "run": run, "analyte": analyte, "status": status, **span(from_, to)}
        joined = {"channel": names(channels), "method": method, "max_age": width(max_age)}
        return await self._run(lab.samples(found, joined, self._patience_s))

    async def add_sample(
        self,
        device: str,
        taken_at: When,
        analytes: Mapping[str, Any] | None = None,
        *,
        sample: str | None = None,
        location: str | None = None,
        note: str | None = None,
        why: str | None = None,
    ) -> str:
        """See `Client.add_sample`."""
        said = {"sample": sample, "location": location, "note": note, "why": why}
        return await self._run(lab.add_sample(device, taken_at, analytes or {}, said, self._patience_s))

    async def materials(
        self,
        *,
        device: str | None = None,
        run: str | None = None,
        kind: Names | None = None,
        from_: When | None = None,
        to: When | None = None,
    ) -> LabTable:
        """See `Client.materials`."""
        found = {"device": device, "run": run, "kind": names(kind), **span(from_, to)}
        return await self._run(lab.materials(found, self._patience_s))

    async def alarms(
        self, *, device: str | None = None, standing: bool | None = None, unacknowledged: bool | None = None
    ) -> list[AlarmInfo]:
        """See `Client.alarms`."""
        found = {"device": device, "standing": standing, "unacknowledged": unacknowledged}
        return await self._run(calls.alarms(found, self._patience_s))

    async def deviations(
        self,
        *,
        state: Names | None = None,
        severity: str | None = None,
        tag: Names | None = None,
        device: str | None = None,
        most: int | None = None,
    ) -> list[DeviationInfo]:
        """See `Client.deviations`."""
        found = {"state": names(state), "severity": severity, "tag": names(tag), "device": device}
        return await self._run(records.deviations(found, most, self._patience_s))

    async def search(
        self,
        words: str,
        *,
        kind: Names | None = None,
        device: str | None = None,
        from_: When | None = None,
        to: When | None = None,
    ) -> list[FoundText]:
        """See `Client.search`."""
        found = span(from_, to) | {"q": words, "kind": names(kind), "device": device}
        return await self._run(records.search(found, self._patience_s))

    async def runs(
        self,
        *,
        state: Names | None = None,
        device: str | None = None,
        material: str | None = None,
        strain: str | None = None,
        q: str | None = None,
        most: int | None = None,
    ) -> list[RunInfo]:
        """See `Client.runs`."""
        found = {"state": names(state), "device": device, "material": material, "strain": strain, "q": q}
        return await self._run(run_flows.listed(found, most, self._patience_s))

    async def run(self, run: str) -> RunInfo:
        """See `Client.run`."""
        return await self._run(run_flows.one(run, self._patience_s))

    async def phases(self, run: str) -> list[PhaseInfo]:
        """See `Client.phases`."""
        return await self._run(run_flows.phases(run, self._patience_s))

    async def align(self, runs: Names, channels: Names, **options: Unpack[AlignOptions]) -> AlignedRuns:
        """See `Client.align`."""
        return await self._run(run_flows.align(runs, channels, options, self._patience_s))

    async def compare(self, runs: Names, channels: Names) -> pd.DataFrame:
        """See `Client.compare`."""
        return await self._run(run_flows.compare(runs, channels, self._patience_s))

    async def envelope(self, references: Names, channels: Names, **options: Unpack[EnvelopeOptions]) -> AlignedRuns:
        """See `Client.envelope`."""
        return await self._run(run_flows.envelope(references, channels, options, self._patience_s))

    async def score(self, run: str, references: Names, channels: Names, **options: Unpack[EnvelopeOptions]) -> RunScore:
        """See `Client.score`."""
        return await self._run(run_flows.score(run, references, channels, options, self._patience_s))

    def live(
        self, devices: Names | None = None, channels: Names | None = None, *, rate: float | None = None
    ) -> AsyncIterator[LiveUpdate]:
        """See `Client.live`."""
        from biogate import live  # noqa: PLC0415  # websockets takes 0.06 s

        return live.async_updates(self._login, live.LiveFeed(live_parameters(devices, channels, rate)))

    async def export(
        self,
        devices: Names | None = None,
        channels: Names | None = None,
        *,
        path: str | Path,
        overwrite: bool = False,
        on_progress: OnProgress | None = None,
        wait: float = WAIT_S,
        **options: Unpack[ExportOptions],
    ) -> ExportedFile:
        """See `Client.export`."""
        target = Target(Path(path), overwrite, on_progress, self._patience_s)
        return await self._run(export.export(devices, channels, options, target, wait))

    async def download(
        self, job: str, path: str | Path, *, overwrite: bool = False, on_progress: OnProgress | None = None
    ) -> ExportedFile:
        """See `Client.download`."""
        return await self._run(export.download(job, Target(Path(path), overwrite, on_progress, self._patience_s)))

    async def report(
        self, run: str, *, path: str | Path, template: str | None = None, overwrite: bool = False, wait: float = WAIT_S
    ) -> Path:
        """See `Client.report`."""
        return await self._run(
            reports.report(run, template, Target(Path(path), overwrite, None, self._patience_s), wait)
        )

    async def evidence(
        self,
        path: str | Path,
        *,
        run: str | None = None,
        devices: Names | None = None,
        from_: When | None = None,
        to: When | None = None,
        report: str | None = None,
        export: str | None = None,
        frames: bool = False,
        overwrite: bool = False,
    ) -> Path:
        """See `Client.evidence`."""
        found = span(from_, to) | {"run": run, "device": names(devices), "report": report, "export": export}
        asked = found | {"frames": "true" if frames else None}
        return await self._run(proofs.evidence(asked, Target(Path(path), overwrite, None, self._patience_s)))

    async def reviews(self, *, run: str | None = None, device: str | None = None) -> list[ReviewInfo]:
        """See `Client.reviews`."""
        return await self._run(proofs.reviews({"run": run, "device": device}, self._patience_s))

    async def review(
        self,
        *,
        run: str | None = None,
        devices: Names | None = None,
        from_: When | None = None,
        to: When | None = None,
    ) -> Mapping[str, Any]:
        """See `Client.review`."""
        body = span(from_, to) | {"run": run, "device": names(devices)}
        return await self._run(proofs.review(body, self._patience_s))

    async def record(self, record: str) -> RecordInfo:
        """See `Client.record`."""
        return await self._run(signatures.record(record, self._patience_s))

    async def sign(
        self, record: str, digest: str, meaning: str, *, password: str, email: str | None = None
    ) -> SignatureInfo:
        """See `Client.sign`."""
        body = {"record": record, "digest": digest, "meaning": meaning, "password": password, "email": email}
        return await self._run(signatures.sign(body, self._patience_s))

    async def pending_acts(self, *, state: Names | None = None, most: int | None = None) -> list[PendingActInfo]:
        """See `Client.pending_acts`."""
        return await self._run(signatures.pending_acts({"state": names(state)}, most, self._patience_s))

    async def confirm(
        self, act: int, digest: str, *, why: str, password: str, email: str | None = None
    ) -> PendingActInfo:
        """See `Client.confirm`."""
        body = {"digest": digest, "why": why, "password": password, "email": email}
        return await self._run(signatures.decide(act, "confirm", body, self._patience_s))

    async def refuse(self, act: int, *, why: str) -> PendingActInfo:
        """See `Client.refuse`."""
        return await self._run(signatures.decide(act, "refuse", {"why": why}, self._patience_s))
