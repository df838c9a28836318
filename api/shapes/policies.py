"""What an organization demands of its people: what is taken and what is given."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from api.http.bodies import Order, body_config
from api.http.description import Answer, about, example
from api.shapes.signatures import Meaning

PendingKind = Literal["rules", "deviations", "samples", "setpoints"]


class PolicyAnswer(Answer):
    idle_minutes: Annotated[int | None, about("a session in which nobody does anything ends after this; null: never")]
    password_days: Annotated[int | None, about("age at which a password may only be changed; null: none")]
    passwords_kept: Annotated[int, about("how many former passwords nobody may take again")]
    meanings: Annotated[list[str], about("meanings of signatures beside authored, reviewed, approved and rejected")]
    second_person: Annotated[list[PendingKind], about("acts that another person confirms before they take effect")]
    waiting_hours: Annotated[int, about("how long such an act waits")]


class NewPolicy(Order):
    """The whole policy: what is left out is not demanded."""

    model_config = body_config(
        idle_minutes=15,
        password_days=365,
        passwords_kept=5,
        meanings=["witnessed"],
        second_person=["samples", "deviations"],
        why="21 CFR Part 11",
    )

    idle_minutes: int | None = Field(
        None, strict=True, ge=1, le=1440, description="end sessions in which nobody does anything"
    )
    password_days: int | None = Field(
        None, strict=True, ge=1, le=3650, description="age at which a password may only be changed"
    )
    passwords_kept: int = Field(0, strict=True, ge=0, le=10, description="former passwords that nobody may take again")
    meanings: list[Meaning] = Field([], max_length=20, description="meanings of signatures beside those that all have")
    second_person: list[PendingKind] = Field(
        [],
        max_length=4,
        description="rules: changes of alarm rules; deviations: closing them; samples: approving them; setpoints: "
        "sending them to devices",
    )
    waiting_hours: int = Field(72, strict=True, ge=1, le=720, description="how long an act waits for a second person")

    @field_validator("meanings", "second_person")
    @classmethod
    def _in_order(cls, given: list[str]) -> list[str]:
        return sorted(set(given))


POLICY = example(
    PolicyAnswer,
    """{"idle_minutes": 15, "password_days": 365, "passwords_kept": 5, "meanings": ["witnessed"],
 "second_person": ["deviations", "samples"], "waiting_hours": 72}""",
)
