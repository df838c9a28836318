"""Serials that may enroll by themselves: the answers, with an example."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from api.http.description import Answer, about, example
from api.http.parameters import ListParameters


class Serial(Answer, rename={"import_": "import"}):
    serial: str
    device: Annotated[str, about("name that the device has or will get")]
    state: Annotated[str | None, about("its state; null: it has not enrolled, or another organization has it")]
    claim_version: Annotated[int, about("version of the master key; 0: the serial has a claim key of its own")]
    blocked: bool
    fingerprint: Annotated[str | None, about("fingerprint of the identity key that it is bound to; null: none yet")]
    import_: Annotated[str | None, about("name of the import that added it")]
    created_at: str


class Import(Answer, rename={"import_": "import"}):
    import_: Annotated[str, about("name of the import")]
    new: int
    known: Annotated[int, about("serials that existed already and stay as they are")]
    keys_not_kept: Annotated[
        int,
        about(
            "claim keys of version 1 and up: they follow from a master key that this service has not, so they were "
            "neither checked nor stored; `biogate devices import` checks them"
        ),
    ]


SERIAL = example(
    Serial,
    """{"serial": "BR-2044", "device": "BR-2044", "state": "active", "claim_version": 1, "blocked": false,
 "fingerprint": "QK7M2VBXW4TZ", "import": "plant-north", "created_at": "2026-11-20T07:45:00.000000Z"}""",
)


class SerialParameters(ListParameters):
    import_: str | None = Field(None, alias="import", max_length=1000, description="only serials of this import")
    q: str | None = Field(
        None, min_length=1, max_length=100, description="only serials with this in them or in the device's name"
    )
