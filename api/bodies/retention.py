"""The body of a hold."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from api.bodies.orders import Order
from api.parameters import Instant, device_name


class NewHold(Order):
    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "device": "br-1",
                "begins": "2026-11-01T00:00:00Z",
                "ends": "2026-11-15T00:00:00Z",
                "why": "batch 4711 is being inspected",
            }
        }
    )

    device: Annotated[str, AfterValidator(device_name)] | None = Field(
        None, description="without it, all of the organization"
    )
    begins: Instant | None = Field(None, description="without it, from the first on")
    ends: Instant | None = Field(None, description="without it, and all that is to come, until the hold is ended")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.begins is not None and self.ends is not None and self.begins >= self.ends:
            raise ValueError("`begins` must be before `ends`")
        return self
