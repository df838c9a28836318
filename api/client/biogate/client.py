"""The client that waits for its answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack

from biogate import calls, export, lab, records, reports, signatures
from biogate import evidence as proofs
from biogate import runs as run_flows
from biogate.asking import Flow, Patience
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
from biogate.transport import Transport

if TYPE_CHECKING:
    import pandas as pd

    from biogate.live import LiveUpdate
    from biogate.table import TelemetryTable

T = TypeVar("T")
TIMEOUT_S = 30.0
"""How long a connection may be silent."""
PATIENCE_S = 30.0
"""How long a request is tried again that the server turned away for now, or that got lost."""
WAIT_S = 3600.0
"""How long an export is waited for."""


class Client:
    """Reads what a Biogate API has, with an API key.

    Address and key come from the arguments, or from BIOGATE_API_URL and BIOGATE_API_KEY_FILE, and the file of an
    authority for TLS from BIOGATE_API_CA_FILE. Every method raises ClientError, whose text says what to change. A
    request that was turned away for now (429, 503) or got lost is sent again, for `patience` seconds at the most, if
    that can do no harm. A client may be used by several threads.
    """

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
        self._transport = Transport(self._login, timeout)
        self._patience_s = patience

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._login.url}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._transport.close()

    def _run(self, flow: Flow[T]) -> T:
        return self._transport.run(flow)

    def get(self, path: str, **parameters: Any) -> Any:
        """Return the JSON at a path below /api/v1, such as `/alarm-rules`: docs/http.md lists them."""
        return self._run(calls.read(path, parameters, Patience(self._patience_s)))

    def devices(
        self, *, tag: Names | None = None, location: str | None = None, online: bool | None = None, q: str | None = None
    ) -> list[DeviceInfo]:
        """Return devices by name: those with all of these tags, whose location begins with the text, that are online or
        not, whose name or title contains `q`."""
        found = {"tag": names(tag), "location": location, "online": online, "q": q}
        return self._run(calls.devices(found, self._patience_s))

    def channels(self, device: str) -> list[ChannelInfo]:
        """Return the channels that a device has sent, with their units."""
        return self._run(calls.channels(device, self._patience_s))

    def latest(
        self, devices: Names | None = "*", channels: Names | None = None, **options: Unpack[LatestOptions]
    ) -> list[NewestValue]:
        """Return the newest sample of each channel of each device, also of those that are not good."""
        return self._run(calls.latest(devices, channels, options, self._patience_s))

    def telemetry(
        self, devices: Names | None = None, channels: Names | None = None, **options: Unpack[TelemetryOptions]
    ) -> TelemetryTable:
        """Return samples, or with `bucket`, `max_points` or `aggregate` what each span of time has.

        Devices and channels are names or patterns (`*`, `?`), one or several; without channels all of them. Times are
        datetimes with a zone, or text like `-24h`. Samples come in one stream, which is whole or an error: never a part
        of them in silence. Columns are called like their channels; with several aggregates (avg, min and max if none
        is given) `channel.aggregate`, and with quality="all" there is also `channel.quality`.
        """
        return self._run(calls.telemetry(devices, channels, options, self._patience_s))

    def events(
        self,
        device: str,
        *,
        type: str | None = None,
        from_: When | None = None,
        to: When | None = None,
        most: int | None = None,
    ) -> list[EventInfo]:
        """Return events of a device, newest first: all, or `most` of them."""
        return self._run(calls.events(device, span(from_, to) | {"type": type}, most, self._patience_s))

    def annotations(self, device: str, *, from_: When | None = None, to: When | None = None) -> list[AnnotationInfo]:
        """Return what people have noted about a time of a device, newest first."""
        return self._run(calls.notes(device, span(from_, to), self._patience_s))

    def annotate(self, device: str, text: str, begins: When, ends: When | None = None) -> AnnotationInfo:
        """Note something about an instant or a time of a device."""
        return self._run(calls.annotate(device, text, begins, ends, self._patience_s))

    def corrections(
        self, device: str, *, channel: str | None = None, from_: When | None = None, to: When | None = None
    ) -> list[CorrectionInfo]:
        """Return corrections of samples of a device, each by its newest version, newest first: also withdrawn ones."""
        found = {**span(from_, to), "channel": channel}
        return self._run(records.corrections(device, found, self._patience_s))

    def correct(
        self, device: str, channel: str, from_: When, to: When, why: str, **options: Unpack[CorrectionOptions]
    ) -> CorrectionInfo:
        """Say what holds of samples of a channel in a time: `value`, or `factor` and `offset`, or `quality`."""
        said = {"channel": channel, "why": why, **span(from_, to)}
        return self._run(records.correct(device, said, options, self._patience_s))

    def withdraw_correction(self, device: str, correction: int, why: str) -> CorrectionInfo:
        """Say that a correction holds no more; its versions stay."""
        return self._run(records.withdraw_correction(device, correction, why, self._patience_s))

    def samples(
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
        """Return lab samples, those taken last first: a row for each, with a column for each analyte.

        With `channels`, there is also what the device sent at the time of each sample: the newest value that is at most
        `max_age` old (10 min if not given), or with method="linear" one between two.
        """
        found = {"device": device, "run": run, "analyte": analyte, "status": status, **span(from_, to)}
        joined = {"channel": names(channels), "method": method, "max_age": width(max_age)}
        return self._run(lab.samples(found, joined, self._patience_s))

    def add_sample(
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
        """Add a sample, and return its name.

        An analyte is a number, a text like `< 0.1`, None if it is still to be measured, a pair with its unit, or an
        object as of the API: {"value": 4.2, "unit": "g/L", "method": "HPLC"}.
        """
        said = {"sample": sample, "location": location, "note": note, "why": why}
        return self._run(lab.add_sample(device, taken_at, analytes or {}, said, self._patience_s))

    def materials(
        self,
        *,
        device: str | None = None,
        run: str | None = None,
        kind: Names | None = None,
        from_: When | None = None,
        to: When | None = None,
    ) -> LabTable:
        """Return records of what went into devices and out of them, newest first."""
        found = {"device": device, "run": run, "kind": names(kind), **span(from_, to)}
        return self._run(lab.materials(found, self._patience_s))

    def alarms(
        self, *, device: str | None = None, standing: bool | None = None, unacknowledged: bool | None = None
    ) -> list[AlarmInfo]:
        """Return alarms by device and rule: all, or those that are not normal, or that somebody has to acknowledge."""
        found = {"device": device, "standing": standing, "unacknowledged": unacknowledged}
        return self._run(calls.alarms(found, self._patience_s))

    def deviations(
        self,
        *,
        state: Names | None = None,
        severity: str | None = None,
        tag: Names | None = None,
        device: str | None = None,
        most: int | None = None,
    ) -> list[DeviationInfo]:
        """Return deviations, newest first: all that fit, or `most` of them."""
        found = {"state": names(state), "severity": severity, "tag": names(tag), "device": device}
        return self._run(records.deviations(found, most, self._patience_s))

    def search(
        self,
        words: str,
        *,
        kind: Names | None = None,
        device: str | None = None,
        from_: When | None = None,
        to: When | None = None,
    ) -> list[FoundText]:
        """Return notes, deviations, comments, events, reasons, acts on alarms and entries of the shift log that have
        all these words; the last may be the begin of one. Without `from_`, of the last year."""
        found = span(from_, to) | {"q": words, "kind": names(kind), "device": device}
        return self._run(records.search(found, self._patience_s))

    def runs(
        self,
        *,
        state: Names | None = None,
        device: str | None = None,
        material: str | None = None,
        strain: str | None = None,
        q: str | None = None,
        most: int | None = None,
    ) -> list[RunInfo]:
        """Return runs, newest first: all that fit, or `most` of them."""
        found = {"state": names(state), "device": device, "material": material, "strain": strain, "q": q}
        return self._run(run_flows.listed(found, most, self._patience_s))

    def run(self, run: str) -> RunInfo:
        """Return one run with its phases."""
        return self._run(run_flows.one(run, self._patience_s))

    def phases(self, run: str) -> list[PhaseInfo]:
        """Return the phases of a run: confirmed ones, and those that events of its devices propose."""
        return self._run(run_flows.phases(run, self._patience_s))

    def align(self, runs: Names, channels: Names, **options: Unpack[AlignOptions]) -> AlignedRuns:
        """Return curves of runs on one clock, whose hour 0 is their start, or the begin of `phase`."""
        return self._run(run_flows.align(runs, channels, options, self._patience_s))

    def compare(self, runs: Names, channels: Names) -> pd.DataFrame:
        """Return a DataFrame of figures of each channel over each phase of each run, and over whole runs."""
        return self._run(run_flows.compare(runs, channels, self._patience_s))

    def envelope(self, references: Names, channels: Names, **options: Unpack[EnvelopeOptions]) -> AlignedRuns:
        """Return where reference runs were, hour by hour: middle, low and high of each channel."""
        return self._run(run_flows.envelope(references, channels, options, self._patience_s))

    def score(self, run: str, references: Names, channels: Names, **options: Unpack[EnvelopeOptions]) -> RunScore:
        """Return how much of a run was inside the envelope of references, and where and how long it was outside."""
        return self._run(run_flows.score(run, references, channels, options, self._patience_s))

    def live(
        self, devices: Names | None = None, channels: Names | None = None, *, rate: float | None = None
    ) -> Iterator[LiveUpdate]:
        """Yield the newest values of each device, and again whenever they change, `rate` times a second at the most.

        It ends never: a broken connection is opened again, and what changed meanwhile is yielded as it is then.
        """
        from biogate import live  # noqa: PLC0415  # websockets takes 0.06 s

        return live.updates(self._login, live.LiveFeed(live_parameters(devices, channels, rate)))

    def export(
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
        """Have a file made of samples, wait for it at most `wait` seconds, download it to `path` and verify its hash.

        The name of the file ends with .parquet, .arrow or .csv. A download that breaks off goes on where it was.
        """
        target = Target(Path(path), overwrite, on_progress, self._patience_s)
        return self._run(export.export(devices, channels, options, target, wait))

    def download(
        self, job: str, path: str | Path, *, overwrite: bool = False, on_progress: OnProgress | None = None
    ) -> ExportedFile:
        """Download the file of an export that is done; a download that broke off before goes on where it was."""
        return self._run(export.download(job, Target(Path(path), overwrite, on_progress, self._patience_s)))

    def report(
        self, run: str, *, path: str | Path, template: str | None = None, overwrite: bool = False, wait: float = WAIT_S
    ) -> Path:
        """Have a report of a run made, wait for it at most `wait` seconds, and return the path of its file.

        The name of the file ends with .html, .pdf or .json.
        """
        return self._run(reports.report(run, template, Target(Path(path), overwrite, None, self._patience_s), wait))

    def evidence(
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
        """Download what proves the record, of a run, of devices and a time, of a report or of an export, and return its
        path; without any of them the whole trail. verify.py checks it with the public key alone."""
        found = span(from_, to) | {"run": run, "device": names(devices), "report": report, "export": export}
        asked = found | {"frames": "true" if frames else None}
        return self._run(proofs.evidence(asked, Target(Path(path), overwrite, None, self._patience_s)))

    def reviews(self, *, run: str | None = None, device: str | None = None) -> list[ReviewInfo]:
        """Return reviews of the record, newest first."""
        return self._run(proofs.reviews({"run": run, "device": device}, self._patience_s))

    def review(
        self,
        *,
        run: str | None = None,
        devices: Names | None = None,
        from_: When | None = None,
        to: When | None = None,
    ) -> Mapping[str, Any]:
        """Gather what stands out in a run, or in a time: what was changed, overridden or silenced, what is missing."""
        body = span(from_, to) | {"run": run, "device": names(devices)}
        return self._run(proofs.review(body, self._patience_s))

    def record(self, record: str) -> RecordInfo:
        """Return a record such as `sample/br-1-s7` as it is signed: its digest, and its signatures."""
        return self._run(signatures.record(record, self._patience_s))

    def sign(self, record: str, digest: str, meaning: str, *, password: str, email: str | None = None) -> SignatureInfo:
        """Sign the record whose digest you have read. The first signature of a session takes `email`, too.

        Keys sign nothing: log in as a person. A record that was changed since is an error of status 412.
        """
        body = {"record": record, "digest": digest, "meaning": meaning, "password": password, "email": email}
        return self._run(signatures.sign(body, self._patience_s))

    def pending_acts(self, *, state: Names | None = None, most: int | None = None) -> list[PendingActInfo]:
        """Return acts that wait for a second person, or were decided, newest first."""
        return self._run(signatures.pending_acts({"state": names(state)}, most, self._patience_s))

    def confirm(self, act: int, digest: str, *, why: str, password: str, email: str | None = None) -> PendingActInfo:
        """Confirm what another person asks for, by a signature: it is done."""
        body = {"digest": digest, "why": why, "password": password, "email": email}
        return self._run(signatures.decide(act, "confirm", body, self._patience_s))

    def refuse(self, act: int, *, why: str) -> PendingActInfo:
        """Refuse what another person asks for, or withdraw what you have asked for."""
        return self._run(signatures.decide(act, "refuse", {"why": why}, self._patience_s))
