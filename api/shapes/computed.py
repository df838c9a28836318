"""Computed channels: what a definition is, what is taken and what is given."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Any, Self

from msgspec import Meta, Raw
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from api.http.bodies import Order, body_config
from api.http.description import Answer, T, about, reference
from api.http.parameters import Words
from api.series import formula
from api.series.formula import SeriesFormula
from api.shapes.channels import Number, Title, Unit
from schema import times
from schema.alarms.grammar import MAX_LENGTH
from schema.channels import LONGEST_NAME, MOST_DECIMALS, wrong_in_name

MOST_INPUTS, MOST_CONSTANTS, MOST_AGE = 20, 20, timedelta(days=1)


def _formula(text: str) -> str:
    formula.compile(text)
    return text


def _channel(name: str) -> str:
    if wrong := wrong_in_name(name):
        raise ValueError(wrong)
    return name


def _age(text: str) -> str:
    if times.parse_duration(text) > MOST_AGE:
        raise ValueError(f"is at most {times.duration_text(MOST_AGE)}")
    return text


def _instant(text: str) -> str:
    return times.text(formula.instant(text))


ChannelName = Annotated[str, Field(min_length=1, max_length=LONGEST_NAME), AfterValidator(_channel)]
ConstantName = Annotated[str, StringConstraints(pattern="^[A-Za-z_][A-Za-z0-9_]{0,39}$")]
Constant = Number | Annotated[str, Field(max_length=40), AfterValidator(_instant)] | None


class ComputedDefinition(BaseModel):
    """All of a computed channel but its name."""

    model_config = ConfigDict(strict=True) | body_config(
        formula='rate(ln(optical_density), "1h")',
        inputs={"optical_density": "AU"},
        unit="1/h",
        title="Specific growth rate",
        decimals=3,
        max_age="10m",
        source="Monod (1949)",
    )

    formula: Annotated[str, Field(min_length=1, max_length=MAX_LENGTH), AfterValidator(_formula)] = Field(
        description="over channels that devices send, and constants: docs/computed.md"
    )
    inputs: dict[ChannelName, Unit | None] = Field(
        min_length=1,
        max_length=MOST_INPUTS,
        description="the channels that it reads, with the unit that it takes each in; null: in which it comes",
    )
    constants: dict[ConstantName, Constant] = Field(
        {},
        max_length=MOST_CONSTANTS,
        description="the other names in it: numbers, and instants at which a total begins; null: said by device",
    )
    unit: Unit | None = Field(None, description="of what comes out")
    title: Title | None = Field(None, description="what people call it")
    decimals: Annotated[int, Field(ge=0, le=MOST_DECIMALS)] | None = Field(
        None, description="how many are worth showing"
    )
    max_age: Annotated[str, AfterValidator(_age)] = Field(
        "5m", description="for how long a sample of an input counts, at most 1d", pattern="^[0-9]{1,9}(ms|s|m|h|d|w)$"
    )
    source: Words | None = Field(None, description="where the formula comes from, and what it assumes")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        for parameter, said in _faults(self, self.compiled):
            raise PydanticCustomError("computed", "{said}", {"parameter": parameter, "said": said})
        return self

    @property
    def compiled(self) -> SeriesFormula:
        return formula.compile(self.formula)


def _faults(given: ComputedDefinition, compiled: SeriesFormula) -> Iterator[tuple[str, str]]:
    """Yield what is wrong between the parts of a definition, each with its field."""
    inputs, constants = given.inputs.keys(), given.constants.keys()
    for name in sorted(compiled.names - inputs - constants):
        yield (
            "inputs",
            f"the formula reads {name}: give its unit here, or null for whatever it has, or name it in constants",
        )
    for name in sorted(inputs & constants):
        yield "constants", f"{name} is among the inputs, too: call it otherwise"
    for name in sorted(inputs - compiled.names):
        yield "inputs", f"the formula does not read {name}: leave it out"
    for name in sorted(constants - compiled.names - compiled.starts):
        yield "constants", f"the formula does not read {name}: leave it out"
    for name in sorted(compiled.starts - constants):
        yield "constants", f"a total begins at {name}: give an instant here, or null if each device has its own"
    for name, value in given.constants.items():
        if name in compiled.starts and (isinstance(value, float) or name in compiled.names):
            yield "constants", f"a total begins at {name}: it is an instant, and no number"
        elif isinstance(value, str) and name not in compiled.starts:
            yield "constants", f"{name} is an instant, which can only be where a total begins: give a number"
    for place in compiled.over_time:
        if not place.reads & inputs:
            yield "formula", f"{place.name} is of nothing that changes: it needs a channel within it"


class NewConstants(Order):
    """What is left out stays."""

    model_config = ConfigDict(strict=True) | body_config(constants={"working_volume": 1.8}, why="as filled")

    constants: dict[ConstantName, Constant] = Field(
        min_length=1, max_length=100, description="numbers and instants by name; null: as the definitions say"
    )


class SavedComputedAnswer(Answer):
    channel: str
    unit: str | None
    title: str | None
    formula: str
    source: Annotated[str | None, about("where the formula comes from, and what it assumes")]
    version: Annotated[int, about("number of the version, one more with each change; the ETag for If-Match")]
    changed_at: str
    definition: Annotated[Raw, Meta(extra_json_schema=reference(ComputedDefinition))]


class ComputedDetail(SavedComputedAnswer):
    warnings: Annotated[list[str], about("devices that send a channel of this name, and what no device has sent")]


class StandardComputedAnswer(Answer):
    channel: Annotated[str, about("a name for it")]
    title: str
    unit: str | None
    formula: str
    assumptions: str
    source: str
    definition: Annotated[Raw, Meta(extra_json_schema=reference(ComputedDefinition))]


class DeviceConstants(Answer):
    device: str
    constants: Annotated[dict[str, float | str], about("those of this device; others are as the definitions say")]
    missing: Annotated[list[str], about("what a computed channel needs and nobody has said")]
    version: Annotated[int, about("counts changes; the ETag for If-Match")]


DEFINITION: dict[str, Any] = {
    "formula": 'rate(ln(optical_density), "1h")',
    "inputs": {"optical_density": "AU"},
    "constants": {},
    "unit": "1/h",
    "title": "Specific growth rate",
    "decimals": 3,
    "max_age": "10m",
    "source": "Monod (1949)",
}
SAVED = {
    "channel": "growth_rate",
    "unit": "1/h",
    "title": "Specific growth rate",
    "formula": DEFINITION["formula"],
    "source": "Monod (1949)",
    "version": 1,
    "changed_at": T,
    "definition": DEFINITION,
}
DETAIL = SAVED | {"warnings": []}
CONSTANTS = {"device": "br-1", "constants": {"working_volume": 1.8}, "missing": [], "version": 2}
