"""Evidence: what is asked for. The answer is a file, whose format docs/evidence.md has."""

from __future__ import annotations

from typing import Annotated, Self
from uuid import UUID

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from api.http.description import Answer, about
from api.http.parameters import Instant, StrictParameters
from api.http.run_times import RunAsked
from api.shapes.selection import Name

MOST_DEVICES = 32
MOST_DAYS = 400


class EvidenceParameters(StrictParameters):
    """What the bundle is to be of: the whole trail, if nothing is given."""

    from_: Instant | None = Field(None, alias="from", description="first instant, of the trail or of a device's frames")
    to: Instant | None = Field(None, description="end, not part of it; without it now")
    device: list[Name] = Field(
        [], max_length=MOST_DEVICES, description="the seals of this device in that time; repeated, or with commas"
    )
    run: RunAsked = None
    report: UUID | None = Field(None, description="id of a report: what proves its files")
    export: UUID | None = Field(None, description="id of the job of an export: what proves its file")
    frames: bool = Field(False, description="true: the frames, too, so that the seals can be computed again")

    def devices(self) -> list[str]:
        return list(dict.fromkeys(name for joined in self.device for name in joined.split(",") if name))

    @model_validator(mode="after")
    def _is_of_one_thing(self) -> Self:
        things = [name for name in ("run", "report", "export") if getattr(self, name) is not None]
        if len(things) > 1:
            raise _wrong(things[1], "give only one of run, report and export")
        if things and (self.from_ or self.to or self.device):
            raise _wrong("from", f"{things[0]} has its time and its devices already")
        if self.device and self.from_ is None:
            raise _wrong("from", "give the time of which you want the seals")
        if self.frames and not self.device and self.run is None:
            raise _wrong("frames", "give a device and a time, or a run")
        return self


def _wrong(parameter: str, what: str) -> PydanticCustomError:
    return PydanticCustomError("evidence", what, {"parameter": parameter})


class EvidenceHead(Answer):
    """Where the trail was when a file was made, and where to get what proves it."""

    n: Annotated[int | None, about("the newest row of the audit trail; null: there was none")]
    hash: Annotated[str | None, about("of that row, hexadecimal")]
    checkpoint: Annotated[int | None, about("the number of the newest checkpoint; null: nothing was signed yet")]
    signed_n: Annotated[int | None, about("the row that it signs")]
    key: Annotated[str | None, about("the name of the key that signed it")]
    bundle: Annotated[str, about("where evidence about this file is, once it is signed: within a minute")]
    verify: Annotated[str, about("where the program is that checks it")]
