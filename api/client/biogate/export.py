"""Exports: start the job, wait for it, download its file, go on where a download broke off, and verify the hash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from biogate import questions
from biogate.asking import CutShort, Flow, HttpAsk, Patience, Pause, Work, answered, segment
from biogate.calls import API, read
from biogate.errors import ClientError
from biogate.questions import Names, SelectionOptions

FORMATS = ("parquet", "arrow", "csv")
Format: TypeAlias = Literal["parquet", "arrow", "csv"]
Shape: TypeAlias = Literal["wide", "long"]
FIRST_LOOK_S, LONGEST_LOOK_S = 0.2, 5.0
"""How often a job is looked at."""


class ExportOptions(SelectionOptions, total=False):
    """What `export` takes beside devices and channels."""

    format: Format
    """By the name of the file if not given."""
    shape: Shape
    """wide (if not given): a row an instant, a column a channel; long: a row a sample."""


@dataclass(frozen=True, slots=True)
class ExportProgress:
    """How far an export is. `total` is None while nobody knows it; `unit` is what both count."""

    job: str
    state: Literal["queued", "running", "downloading"]
    done: int
    total: int | None
    unit: str


OnProgress: TypeAlias = Callable[[ExportProgress], object]


@dataclass(frozen=True)
class ExportedFile:
    """A file whose hash is that of its manifest, which stands beside it as `NAME.manifest.json`."""

    path: Path
    job: str
    manifest: Mapping[str, Any]


@dataclass(frozen=True)
class Target:
    """Where an export goes to, and how it is waited for."""

    path: Path
    overwrite: bool
    on_progress: OnProgress | None
    patience_s: float

    def check(self) -> None:
        """Raise ClientError if there is a file already, or no directory."""
        if self.path.exists() and not self.overwrite:
            raise ClientError(f"{self.path} exists: give another path, or overwrite=True")
        if not self.path.parent.is_dir():
            raise ClientError(f"there is no directory {self.path.parent}")

    def tell(self, progress: ExportProgress) -> None:
        if self.on_progress is not None:
            self.on_progress(progress)


def export(
    devices: Names | None, channels: Names | None, options: ExportOptions, target: Target, wait_s: float
) -> Flow[ExportedFile]:
    target.check()
    given = {"corrections": "applied"} | questions.checked(options, ExportOptions)
    given.setdefault("format", target.path.suffix.removeprefix("."))
    if given["format"] not in FORMATS:
        raise ClientError(f"format: end the path with .{', .'.join(FORMATS)}, or give format=")
    body = questions.parameters(devices, channels, given)
    ask = HttpAsk(f"{API}/exports", method="POST", body=body, is_read=False)
    reply = yield from answered(ask, Patience(target.patience_s))
    job = str(reply.json()["id"])
    yield from finished("export", job, target, wait_s)
    return (yield from download(job, target))


def finished(kind: str, job: str, target: Target, wait_s: float) -> Flow[None]:
    """Wait until the job of that kind is done. Raises ClientError if it comes to nothing, or takes too long."""
    patience, pause = Patience(wait_s), FIRST_LOOK_S
    while True:
        found = yield from read(f"/jobs/{job}", {}, Patience(target.patience_s))
        if found["state"] == "done":
            return
        if found["state"] not in {"queued", "running"}:
            raise ClientError(f"{kind} {job} is {found['state']}: {found['error'] or 'ask again'}")
        target.tell(ExportProgress(job, found["state"], found["done"], found["total"], found["unit"]))
        if patience.pause(pause) is None:
            later = f"get it later by download({job!r}, path)" if kind == "export" else "it will stand in the list"
            raise ClientError(f"{kind} {job} is still {found['state']}: {later}")
        yield Pause(pause)
        pause = min(1.5 * pause, LONGEST_LOOK_S)


def download(job: str, target: Target) -> Flow[ExportedFile]:
    """Download the file of an export that is done. What a former attempt has left is not downloaded again."""
    target.check()
    manifest = yield from read(f"/exports/{segment(job)}/manifest", {}, Patience(target.patience_s))
    wanted = manifest["file"]
    body = FileBody(
        _part(target.path, job),
        wanted["sha256"],
        wanted["bytes"],
        lambda done: target.tell(ExportProgress(job, "downloading", done, wanted["bytes"], "bytes")),
    )
    if body.kept < wanted["bytes"]:
        ask = HttpAsk(f"{API}/exports/{segment(job)}/file", sink=body)
        yield from answered(ask, Patience(target.patience_s))
    yield Work(lambda: body.verify_as(target.path))
    beside = target.path.with_name(f"{target.path.name}.manifest.json")
    beside.write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")
    return ExportedFile(target.path, job, manifest)


def _part(path: Path, job: str) -> Path:
    """Return where the file is while it is not whole; of another export it is another one."""
    return path.with_name(f"{path.name}.{job[:8]}.part")


class FileBody:
    """A sink for one file: an attempt goes on at the end of the one before."""

    def __init__(self, part: Path, sha256: str, size: int, on_bytes: Callable[[int], object]) -> None:
        self._part, self._sha256, self._size, self._on_bytes = part, sha256, size, on_bytes
        if self.kept > size:
            part.unlink()

    @property
    def kept(self) -> int:
        return self._part.stat().st_size if self._part.exists() else 0

    def headers(self) -> dict[str, str]:
        """If-Range: another file would be sent whole."""
        return {"Range": f"bytes={self.kept}-", "If-Range": f'"{self._sha256}"'} if self.kept else {}

    def begin(self, status: int, headers: Mapping[str, str]) -> None:
        where = headers.get("content-range", "")
        if status != 206:
            self._part.write_bytes(b"")
        elif not where.startswith(f"bytes {self.kept}-"):
            self._part.unlink(missing_ok=True)
            raise CutShort(f"another part of the file came than the one that was asked for: {where}")

    def write(self, content: bytes) -> None:
        with self._part.open("ab", buffering=0) as file:
            file.write(content)
        self._on_bytes(self.kept)

    def end(self) -> None:
        if self.kept != self._size:
            raise CutShort(f"{self.kept} of {self._size} bytes came")

    def verify_as(self, path: Path) -> None:
        """Move the file to its name. Raises ClientError, and drops the file, if its hash is another one."""
        with self._part.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != self._sha256:
            self._part.unlink()
            raise ClientError(f"what was downloaded is not the file of the export: its SHA-256 is {found}")
        self._part.replace(path)
