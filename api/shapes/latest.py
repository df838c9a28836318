"""The newest values: the answers, with an example."""

from __future__ import annotations

from typing import Annotated, Literal

from api.http.description import Answer, Following, T, Truncated, about


class Latest(Answer, gc=False):  # hot path: never a part of a cycle
    channel: str
    unit: str | None
    value: Annotated[
        float | None, about("null with a quality: the channel was due and had no value; null without: none found")
    ] = None
    quality: int | None = None
    time: str | None = None


class DeviceLatest(Answer):
    device: str
    time: Annotated[str | None, about("time of the newest frame")]
    values: list[Latest]


class OneLatest(DeviceLatest):
    within: Annotated[str, about("how long before the newest frame a channel was looked for")]
    quality: Literal["good", "all"]


class AllLatest(Answer):
    within: str
    quality: Literal["good", "all"]
    devices: list[DeviceLatest]
    truncated: Truncated
    next: Following


LATEST = {"channel": "ph", "unit": "pH", "value": 7.02, "quality": 0, "time": T}
