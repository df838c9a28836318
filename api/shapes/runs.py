"""Runs: what is taken and what is given."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from api.http.bodies import DeviceText, Order, body_config
from api.http.description import Answer, T, about, example
from api.http.parameters import Instant, ListParameters, Parameters
from api.http.run_times import RUN_NAME
from api.shapes.annotations import prose
from api.shapes.run_plans import Plan

RunState: TypeAlias = Literal[
    "idle", "running", "holding", "held", "restarting", "stopping", "stopped", "aborting", "aborted", "complete"
]
"""States of ISA-88. `idle` is a run that is planned."""
GivenState: TypeAlias = Literal[
    "running", "holding", "held", "restarting", "stopping", "stopped", "aborting", "aborted", "complete"
]
Origin: TypeAlias = Literal["person", "event", "data"]
MOST_DEVICES = 32
"""Devices of a run."""
MOST_PHASES = 100
RunText = Annotated[str, StringConstraints(pattern=RUN_NAME)]
Fact = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
Note = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000), AfterValidator(prose)]
PhaseText = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100)]


class RunAnswer(Answer):
    run: Annotated[str, about("the id that people and other systems call it by; unique in the organization")]
    state: RunState
    next_states: Annotated[list[RunState], about("what it can become")]
    devices: list[str]
    material: str | None
    strain: str | None
    recipe: str | None
    recipe_version: str | None
    note: str | None
    begins: Annotated[str | None, about("null: it is planned")]
    ends: Annotated[str | None, about("null: it is not over")]
    hours: Annotated[float | None, about("from its start to its end, or to now")]
    version: int
    created_by: str
    created_at: str


class RunPhaseAnswer(Answer):
    phase: str
    begins: str
    ends: Annotated[str | None, about("null: it lasts")]
    hours: Annotated[float, about("how long it was, or is by now")]
    status: Annotated[Literal["confirmed", "proposed"], about("proposed: nobody has confirmed it")]
    origin: Annotated[Origin, about("who said so first: a person, an event of a device, or its data")]
    evidence: Annotated[str | None, about("of a proposal: what it was told by")]
    confirmed_by: str | None
    confirmed_at: str | None


class RunStateAnswer(Answer):
    state: RunState
    at: str
    who: str
    why: str


class RunDetail(RunAnswer):
    phases: Annotated[list[RunPhaseAnswer], about("confirmed ones, and proposals by events where there are none")]
    states: Annotated[list[RunStateAnswer], about("what it became, oldest first")]
    plan: Annotated[list[dict[str, Any]], about("planned setpoints")]


class RunProposal(Answer):
    run: Annotated[str, about("the id that the device gave")]
    device: str
    begins: str


class RunProposals(Answer):
    proposals: list[RunProposal]


class RunPhases(Answer):
    run: str
    phases: list[RunPhaseAnswer]
    version: Annotated[int, about("version of the run")]


RUN = example(
    RunAnswer,
    f"""{{"run": "B-2026-041", "state": "running", "next_states": ["complete", "holding", "held", "stopping", "stopped",
 "aborting", "aborted"], "devices": ["br-1"], "material": "mAb-7", "strain": "CHO-K1", "recipe": "fed batch",
 "recipe_version": "3", "note": null, "begins": "{T}", "ends": null, "hours": 30.5, "version": 2,
 "created_by": "eva@example.org", "created_at": "{T}"}}""",
)
PHASE = example(
    RunPhaseAnswer,
    f"""{{"phase": "batch", "begins": "{T}", "ends": null, "hours": 30.5, "status": "proposed", "origin": "event",
 "evidence": "event of br-1", "confirmed_by": null, "confirmed_at": null}}""",
)
STATE = example(RunStateAnswer, f'{{"state": "running", "at": "{T}", "who": "eva@example.org", "why": "inoculated"}}')
DETAIL = RUN | {"phases": [PHASE], "states": [STATE], "plan": []}
PROPOSED = {"run": "B-2026-042", "device": "br-1", "begins": T}
PHASES = {"run": "B-2026-041", "phases": [PHASE], "version": 2}


class RunProposalParameters(Parameters):
    from_: Instant | None = Field(None, alias="from", description="events from then on; without it of the last 30 days")


class RunListParameters(ListParameters):
    state: list[RunState] = Field([], max_length=10, description="only runs in these states; may be repeated")
    device: str | None = Field(None, max_length=64, description="only runs of this device")
    material: str | None = Field(None, min_length=1, max_length=200, description="only of this material")
    strain: str | None = Field(None, min_length=1, max_length=200, description="only of this strain")
    q: str | None = Field(
        None,
        min_length=1,
        max_length=100,
        description="only with these words in id, material, strain, recipe or note, in any case",
    )


class _Facts(Order):
    material: Fact | None = Field(None, description="what it makes")
    strain: Fact | None = Field(None, description="strain or cell line")
    recipe: Fact | None = Field(None, description="name of the recipe")
    recipe_version: Fact | None = Field(None, description="its version")
    note: Note | None = None

    def facts(self) -> dict[str, Any]:
        """What of it a run keeps, as JSON, without what was left out."""
        return self.model_dump(mode="json", exclude_unset=True, exclude={"why", "run", "devices"})


class NewRun(_Facts):
    """The body of a new run."""

    model_config = body_config(run="B-2026-041", devices=["br-1"], begins="2026-11-20T07:45:00Z", why="inoculated")

    run: RunText = Field(description="its id: a batch, SupervisoryJobId of LADS; letters, digits and . _ : -")
    devices: list[DeviceText] = Field([], max_length=MOST_DEVICES, description="devices it runs in")
    begins: Instant | None = Field(None, description="its start, now or in the past; without it, it is planned")
    plan: Plan = Field([])


class RunChange(_Facts):
    """The body of a change: what is left out stays, a fact that is null is taken away."""

    model_config = body_config(begins="2026-11-20T07:30:00Z", why="the inoculum was pumped in at half past")

    devices: list[DeviceText] | None = Field(None, max_length=MOST_DEVICES)
    begins: Instant | None = Field(None, description="when it really started")
    ends: Instant | None = Field(None, description="when it really ended")
    plan: Plan = Field([])

    @model_validator(mode="after")
    def _changes_something(self) -> RunChange:
        if not self.model_fields_set - {"why"}:
            raise ValueError("say what becomes other: devices, begins, ends, plan, material, strain, recipe, note")
        for name in ("devices", "begins", "ends"):
            if name in self.model_fields_set and getattr(self, name) is None:
                raise PydanticCustomError("null", "cannot be null", {"parameter": name})
        return self


class RunStep(Order):
    """The body of a change of the state."""

    model_config = body_config(state="held", at="2026-11-20T07:45:00Z", why="foam")

    state: GivenState = Field(description="running starts it, complete, stopped and aborted end it")
    at: Instant | None = Field(None, description="when it became so; without it now")


class GivenPhase(BaseModel):
    model_config = body_config(phase="batch", begins="2026-11-20T07:45:00Z")

    phase: PhaseText
    begins: Instant
    ends: Instant | None = Field(None, description="without it: to the next phase, or the end of the run")
    origin: Origin = Field("person", description="of a proposal that is confirmed as it is: its origin")


class GivenPhases(Order):
    """The body that says all phases of a run. What is in it is confirmed by who sends it."""

    model_config = body_config(phases=[{"phase": "batch", "begins": "2026-11-20T07:45:00Z"}], why="seen in the feed")

    phases: list[GivenPhase] = Field(max_length=MOST_PHASES)
