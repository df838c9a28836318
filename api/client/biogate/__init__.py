"""Biogate's client for Python: telemetry as DataFrames, newest values, live data and exports, over HTTP.

    from biogate import Client

    with Client() as plant:
        frame = plant.telemetry("br-1", ["ph", "temperature"], from_="-24h").to_pandas()

`AsyncClient` has the same methods, to be awaited. docs/python.md is the guide. The package imports nothing else of
Biogate, and what takes long to import (httpx2, pyarrow, websockets) only when it is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from biogate.async_client import AsyncClient
    from biogate.client import Client
    from biogate.errors import ClientError
    from biogate.evidence import ReviewInfo
    from biogate.export import ExportedFile, ExportProgress
    from biogate.infos import AlarmInfo, AnnotationInfo, ChannelInfo, DeviceInfo, EventInfo, NewestValue
    from biogate.lab import LabTable
    from biogate.live import LiveUpdate
    from biogate.records import CorrectionInfo, DeviationInfo, FoundText
    from biogate.runs import AlignedRuns, PhaseInfo, RunInfo, RunScore
    from biogate.signatures import PendingActInfo, RecordInfo, SignatureInfo
    from biogate.table import TelemetryTable

__all__ = [
    "AlarmInfo",
    "AlignedRuns",
    "AnnotationInfo",
    "AsyncClient",
    "ChannelInfo",
    "Client",
    "ClientError",
    "CorrectionInfo",
    "DeviationInfo",
    "DeviceInfo",
    "EventInfo",
    "ExportProgress",
    "ExportedFile",
    "FoundText",
    "LabTable",
    "LiveUpdate",
    "NewestValue",
    "PendingActInfo",
    "PhaseInfo",
    "RecordInfo",
    "ReviewInfo",
    "RunInfo",
    "RunScore",
    "SignatureInfo",
    "TelemetryTable",
]
_MODULES = {
    "AlignedRuns": "runs",
    "AsyncClient": "async_client",
    "Client": "client",
    "ClientError": "errors",
    "CorrectionInfo": "records",
    "DeviationInfo": "records",
    "ExportProgress": "export",
    "ExportedFile": "export",
    "LabTable": "lab",
    "FoundText": "records",
    "LiveUpdate": "live",
    "PendingActInfo": "signatures",
    "PhaseInfo": "runs",
    "RecordInfo": "signatures",
    "ReviewInfo": "evidence",
    "RunInfo": "runs",
    "RunScore": "runs",
    "SignatureInfo": "signatures",
    "TelemetryTable": "table",
}
"""The module of each name; those of `infos` are not named."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES.get(name, 'infos')}"), name)


def __dir__() -> list[str]:
    return __all__
