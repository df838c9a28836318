"""Records of material: what went into a device or out of it, their sums, and the balance of a time."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, get_args

from pydantic import AfterValidator, BaseModel, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from api.http.bodies import DeviceText, Order, body_config
from api.http.description import Answer, about, example
from api.http.parameters import Instant, ListParameters, Words, printable
from api.http.run_times import Moment, RunSpanParameters
from api.shapes.lab_samples import Note, RecordSource
from schema import times, units

InKind = Literal["inoculum", "medium", "feed", "base", "acid", "antifoam", "additive"]
OutKind = Literal["sampling", "harvest", "bleed", "waste"]
MaterialKind = Literal[InKind, OutKind]
INTO: frozenset[str] = frozenset(get_args(InKind))
MATERIAL_KINDS: tuple[str, ...] = (*get_args(InKind), *get_args(OutKind))
Direction = Literal["in", "out"]
MaterialAct = Literal["add", "correct", "withdraw"]
UNITS = (*units.DIMENSIONS["mass"], *units.DIMENSIONS["volume"])
WATER = 1.0
"""kg/L: what broth and feeds are taken for, if nobody says another density."""


def quantity_unit(given: str) -> str:
    """Return the unit of a quantity as it is stored. Raises ValueError for another one."""
    found = units.named(given)
    if found not in UNITS:
        raise ValueError(f"must be one of {', '.join(UNITS)}")
    return found


def direction(kind: str) -> Direction:
    return "in" if kind in INTO else "out"


QuantityUnit = Annotated[str, Field(max_length=20), AfterValidator(quantity_unit)]
Quantity = Annotated[float, Field(gt=0, lt=1e12, allow_inf_nan=False)]
MaterialText = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100), AfterValidator(printable)
]
Density = Annotated[
    float,
    Field(gt=0.1, lt=30, allow_inf_nan=False, description="kg/L, by which volumes are taken for masses; an assumption"),
]


class Material(Answer):
    """A version of a record of material."""

    number: int
    version: Annotated[int, about("counts the versions; the newest is what holds")]
    device: str
    run: Annotated[str | None, about("the run that had the device at `begins`; null: none")]
    direction: Annotated[Direction, about("into the device, or out of it; the kind says it")]
    kind: MaterialKind
    material: str
    lot: str | None
    quantity: float
    unit: str
    begins: str
    ends: Annotated[str | None, about("null: it went at one instant")]
    note: str | None
    withdrawn: bool
    act: Annotated[MaterialAct, about("what made this version")]
    source: Annotated[RecordSource, about("who it comes from: a person, a file, or the device's own event")]
    who: str
    why: str
    created_at: str
    superseded_at: Annotated[str | None, about("null: it is the newest version")]


MATERIAL = example(
    Material,
    """{"number": 31, "version": 1, "device": "br-1", "run": "B-2026-041", "direction": "in",
 "kind": "feed", "material": "glucose 500 g/L",
 "lot": "G-0417", "quantity": 120.0, "unit": "mL", "begins": "2026-11-20T07:45:00.000000Z",
 "ends": "2026-11-20T09:45:00.000000Z", "note": null, "withdrawn": false, "act": "add", "source": "person",
 "who": "eva@example.org", "why": "added", "created_at": "2026-11-20T09:46:00.000000Z", "superseded_at": null}""",
)


class NewMaterial(BaseModel):
    """The body of a new record."""

    model_config = body_config(
        **{"device": "br-1", "kind": "feed", "material": "glucose 500 g/L", "lot": "G-0417"},
        **{"quantity": 120, "unit": "mL", "begins": "2026-11-20T07:45:00Z"},
    )

    device: DeviceText
    kind: MaterialKind = Field(description="sampling, harvest, bleed and waste went out, all others in")
    material: MaterialText = Field(description="what it was")
    lot: MaterialText | None = None
    quantity: Quantity
    unit: QuantityUnit = Field(description=", ".join(UNITS))
    begins: Instant
    ends: Instant | None = Field(None, description="without it, it went at one instant")
    note: Note | None = None
    why: Words = Field("added", description="the reason, for the audit trail")


class MaterialChange(Order):
    """The body of a correction; what is not given stays as it was."""

    model_config = body_config(quantity=112, why="the balance was read again")

    version: int | None = Field(None, ge=1, description="the version that it must be of; without it the newest")
    device: DeviceText | None = None
    kind: MaterialKind | None = None
    material: MaterialText | None = None
    lot: MaterialText | None = None
    quantity: Quantity | None = None
    unit: QuantityUnit | None = None
    begins: Instant | None = None
    ends: Instant | None = None
    note: Note | None = None

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if not self.model_fields_set - {"version", "why"}:
            raise PydanticCustomError("change", "give what is other than before", {"parameter": "quantity"})
        return self


class MaterialParameters(RunSpanParameters, ListParameters):
    from_: Moment = Field(times.FIRST, alias="from", description="begun then or later")
    to: Moment = Field(times.LAST, description="begun before")
    device: str | None = Field(None, max_length=64, description="only of this device")
    kind: list[MaterialKind] = Field(
        [], max_length=len(MATERIAL_KINDS), description="only of these kinds; may be repeated"
    )
    withdrawn: bool = Field(False, description="true: those that were withdrawn, too")


class MaterialSum(Answer):
    """What was recorded of one material of one device."""

    device: str
    direction: Direction
    kind: MaterialKind
    material: str
    records: int
    mass: Annotated[float, about("kg; volumes by the density")]
    volume: Annotated[float, about("L; masses by the density")]
    by_density: Annotated[bool, about("true: some of it was recorded as a volume, so the mass is by the density")]


SUM = example(
    MaterialSum,
    """{"device": "br-1", "direction": "in", "kind": "feed", "material": "glucose 500 g/L", "records": 3, "mass": 0.36,
 "volume": 0.36, "by_density": true}""",
)


class SumParameters(RunSpanParameters):
    device: str | None = Field(None, max_length=64, description="only of this device")
    density: Density = WATER


class BalanceParameters(RunSpanParameters):
    density: Density = WATER
    weight: str | None = Field(
        None, max_length=64, description="channel of the vessel's weight or volume; without it `weight`, else `volume`"
    )

    @model_validator(mode="after")
    def _has_a_time(self) -> Self:
        if self.run is None and not self.model_fields_set >= {"from_", "to"}:
            raise PydanticCustomError("span", "give `from` and `to`, or a `run`", {"parameter": "from"})
        return self


class ChannelChange(Answer):
    """How a channel changed from the begin of a time to its end."""

    channel: str
    unit: str | None
    first: float | None
    last: float | None
    mass: Annotated[float | None, about("kg that it rose by; null: a value or the unit is missing")]
    set_back: Annotated[int, about("how often a total was set back; it is taken to have counted on from 0")] = 0


class FeedTotal(Answer):
    """A feed by what the device counted, what its scale lost, and what people recorded."""

    feed: Annotated[str, about("as its channels are called: of `feed_a_total` it is `feed_a`")]
    counted: Annotated[ChannelChange, about("the total of the pump")]
    weighed: Annotated[ChannelChange | None, about("what the scale `<feed>_weight` lost; null: there is none")]
    recorded: Annotated[float | None, about("kg of records whose material or lot names this feed; null: none does")]
    counted_minus_weighed: Annotated[float | None, about("kg")]
    counted_minus_recorded: Annotated[float | None, about("kg")]


class MaterialBalance(Answer, rename={"from_": "from"}):
    """What went in and out of a device in a time, and what its weight says of it. All in kg."""

    device: str
    from_: str
    to: str
    density: Annotated[float, about("kg/L, by which volumes are taken for masses")]
    went_in: float
    went_out: float
    weight: Annotated[ChannelChange | None, about("null: the device has no such channel")]
    residue: Annotated[float | None, about("went_in − went_out − change of weight; null: there is no weight")]
    sums: list[MaterialSum]
    feeds: list[FeedTotal]
    assumptions: Annotated[list[str], about("what the figures rest on, and what is missing")]


CHANGE: dict[str, Any] = {"channel": "weight", "unit": "kg", "first": 2.1, "last": 2.42, "mass": 0.32}
FEED: dict[str, Any] = {
    **{"feed": "feed_a", "weighed": None, "recorded": None, "counted_minus_weighed": None},
    "counted": {"channel": "feed_a_total", "unit": "mL", "first": 0.0, "last": 361.0, "mass": 0.361},
    "counted_minus_recorded": None,
}
BALANCE: dict[str, Any] = {
    **{"device": "br-1", "from": "2026-11-20T07:45:00.000000Z", "to": "2026-11-20T09:45:00.000000Z", "density": 1.0},
    **{"went_in": 0.36, "went_out": 0.03, "weight": CHANGE, "residue": 0.01, "sums": [SUM], "feeds": [FEED]},
    "assumptions": ["volumes are taken for masses by 1 kg/L"],
}
