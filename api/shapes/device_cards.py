"""Cards of devices and places: what is taken and what is given."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from api.http.bodies import Order, body_config
from api.http.description import Answer, about, example
from api.http.parameters import ListParameters, ReasonParameter, printable
from api.shapes.annotations import prose

LocationKind = Literal["site", "hall", "bench"]
ShortText = Annotated[str, StringConstraints(strip_whitespace=True, max_length=100), AfterValidator(printable)]
Serial = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=64), AfterValidator(printable)
]


def path_of_place(path: str) -> str:
    """Check the path of a place. Raises ValueError."""
    names = path.split("/")
    if len(names) > 5 or not all(name.strip() == name != "" for name in names):
        raise ValueError("is 1 to 5 names with / between, the larger place first")
    return path


LocationPath = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=200),
    AfterValidator(printable),
    AfterValidator(path_of_place),
]


class ProbeAnswer(Answer):
    serial: str
    kind: str
    due_on: Annotated[str | None, about("the day on which its next calibration is due; null: it needs none")]
    due: Annotated[bool, about("true: that day has come")]


class DeviceCard(Answer):
    device: str
    description: str
    model: str
    working_volume: Annotated[float | None, about("in L: the constant `working_volume` of formulas; null: not said")]
    location: str | None
    probes: list[ProbeAnswer]
    due: Annotated[int, about("probes whose calibration is due")]
    version: Annotated[int, about("the ETag for If-Match")]


CARD = example(
    DeviceCard,
    """{"device": "br-1", "description": "Glass vessel with two impellers", "model": "Biostat B", "working_volume": 3.5,
 "location": "Hall 2/Bay 4", "probes": [{"serial": "EF-1042", "kind": "pH", "due_on": "2026-12-01", "due": false}],
 "due": 0, "version": 2}""",
)


class Probe(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    serial: Serial
    kind: ShortText = Field(description="what it measures")
    due_on: Annotated[date, Field(ge=date(1971, 1, 1), le=date(2999, 12, 31))] | None = Field(
        None, description="the day on which its next calibration is due"
    )


class NewDeviceCard(Order):
    model_config = body_config(
        model="Biostat B",
        working_volume=3500,
        working_volume_unit="mL",
        probes=[{"serial": "EF-1042", "kind": "pH", "due_on": "2026-12-01"}],
        why="calibrated",
    )

    description: Annotated[str, StringConstraints(strip_whitespace=True, max_length=2000), AfterValidator(prose)] = ""
    model: ShortText = ""
    working_volume: float | None = Field(
        None, gt=0, lt=1e6, description="also becomes the constant of formulas; without it, that stays"
    )
    working_volume_unit: Literal["L", "mL"] = "L"
    probes: Annotated[list[Probe], Field(max_length=50)] = Field([], description="all its probes")


class LocationAnswer(Answer):
    path: Annotated[str, about("its name after those of the places it is in, with / between")]
    kind: LocationKind
    description: str
    devices: Annotated[int, about("devices there, and in places that are part of it")]


LOCATION = example(
    LocationAnswer, """{"path": "Hall 2/Bay 4", "kind": "bench", "description": "at the window", "devices": 3}"""
)


class NewLocation(Order):
    model_config = body_config(path="Hall 2/Bay 4", kind="bench", description="at the window", why="new bench")

    path: LocationPath = Field(description="names with / between; the place before the last / must be there")
    kind: LocationKind
    description: Annotated[str, StringConstraints(strip_whitespace=True, max_length=1000), AfterValidator(prose)] = ""


class LocationsParameters(ListParameters):
    pass


class LocationRemoval(ReasonParameter):
    path: str = Field(min_length=1, max_length=200, description="the place", examples=["Hall 2/Bay 4"])
