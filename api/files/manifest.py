"""What a reader of a file has to know about it: filters, columns, units, zone, version; later its rows and its hash."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from importlib.metadata import version
from typing import Any

from api.files.columns import QUALITIES, TableColumns
from api.queries.devices import Computed
from api.queries.selection import Selected
from api.shapes.evidence import EvidenceHead
from api.shapes.exports import FileFormat, Manifest, ManifestColumn, ManifestComputed, ManifestDevice
from schema import times

NAME = "manifest.json"


def manifest(
    request: Mapping[str, Any],
    selected: Selected,
    columns: TableColumns,
    format_: FileFormat,
    now: datetime,
    *,
    evidence: EvidenceHead | None = None,
) -> Manifest:
    """The manifest of a table that is yet to be written: without rows and file."""
    return Manifest(
        software=f"biogate {version('biogate')}",
        created_at=times.text(now),
        format=format_,
        shape=columns.shape,
        zone="UTC",
        request=dict(request),
        quality="all" if columns.everything else "good",
        qualities=QUALITIES,
        corrections=selected.applied,
        corrected=selected.corrections,
        as_of=selected.as_of,
        devices=[
            ManifestDevice(
                device=one.device.name,
                from_=times.text(one.begin),
                to=times.text(one.end),
                channels=[channel.name for channel in one.channels],
                computed=[_computed(channel.name, channel.computed) for channel in one.channels if channel.computed],
            )
            for one in selected.selections
        ],
        columns=[
            ManifestColumn(one.name, one.kind, one.channel, one.unit, one.formula, one.source)
            for one in columns.columns
        ],
        rows=None,
        file=None,
        evidence=evidence,
        warnings=list(selected.warnings),
    )


def _computed(name: str, how: Computed) -> ManifestComputed:
    starts = {one: times.text(times.from_microseconds(at)) for one, at in how.what.starts.items()}
    return ManifestComputed(name, how.formula, how.source, {**how.what.constants, **starts})
