"""The newest values: the answers, with an example."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from api.http.description import Answer, Page, T


class Latest(Answer):
    channel: str
    unit: str | None
    value: float | None = Field(description="null with a quality: due, but without a value; null without: none found")
    quality: int | None
    time: str | None


class DeviceLatest(Answer):
    device: str
    time: str | None = Field(description="time of the newest frame")
    values: list[Latest]


class OneLatest(DeviceLatest):
    within: str = Field(description="how long before the newest frame a channel was looked for")
    quality: Literal["good", "all"]


class AllLatest(Page):
    within: str
    quality: Literal["good", "all"]
    devices: list[DeviceLatest]


LATEST = {"channel": "ph", "unit": "pH", "value": 7.02, "quality": 0, "time": T}
