"""Clocks of devices by hour: the answer, with an example."""

from __future__ import annotations

from typing import Annotated

from api.http.description import Answer, T, about
from api.http.parameters import ListParameters, SpanParameters


class DeviceClockAnswer(Answer):
    hour: Annotated[str, about("its begin, by the clock of the device")]
    frames: Annotated[int, about("frames of the hour that came from the device, and not from a file")]
    least_delay_s: Annotated[float, about("least time from a frame to its receipt; below 0: the device was ahead")]
    most_delay_s: Annotated[float, about("greatest time from a frame to its receipt")]
    ahead_at_least_s: Annotated[
        float, about("so far the clock of the device was ahead at least; below 0: it was behind by that at most")
    ]


class DeviceClockParameters(SpanParameters, ListParameters):
    """A time, and a page of it."""


HOUR = {"hour": T, "frames": 3600, "least_delay_s": 0.012, "most_delay_s": 1.9, "ahead_at_least_s": -0.012}
