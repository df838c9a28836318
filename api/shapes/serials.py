"""Serials that may enroll by themselves: the answers, with an example."""

from __future__ import annotations

from pydantic import Field

from api.http.description import Answer, Page, T


class Serial(Answer):
    serial: str
    device: str = Field(description="the name it has or will get")
    state: str | None = Field(description="of that device; null: it has not enrolled, or is another organization's")
    claim_version: int = Field(description="of the master key; 0: a claim key of its own")
    blocked: bool
    fingerprint: str | None = Field(description="of the identity key it is bound to; null: none yet")
    import_: str | None = Field(alias="import", description="name of the import it came with")
    created_at: str


class Serials(Page):
    serials: list[Serial]


class Import(Answer):
    import_: str = Field(alias="import", description="its name")
    new: int
    known: int = Field(description="were there already, and were left as they are")
    keys_not_kept: int = Field(
        description="claim keys of version 1 and up: they follow from a master key that this service has not, so they "
        "were neither checked nor stored; `biogate devices import` checks them"
    )


SERIAL = {
    "serial": "BR-2044",
    "device": "BR-2044",
    "state": "active",
    "claim_version": 1,
    "blocked": False,
    "fingerprint": "QK7M2VBXW4TZ",
    "import": "plant-north",
    "created_at": T,
}
