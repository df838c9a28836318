"""Serials that may enroll by themselves: the answers, with an example."""

from __future__ import annotations

from typing import Annotated

from api.http.description import Answer, about, example


class Serial(Answer, rename={"import_": "import"}):
    serial: str
    device: Annotated[str, about("the name it has or will get")]
    state: Annotated[str | None, about("of that device; null: it has not enrolled, or is another organization's")]
    claim_version: Annotated[int, about("of the master key; 0: a claim key of its own")]
    blocked: bool
    fingerprint: Annotated[str | None, about("of the identity key it is bound to; null: none yet")]
    import_: Annotated[str | None, about("name of the import it came with")]
    created_at: str


class Import(Answer, rename={"import_": "import"}):
    import_: Annotated[str, about("its name")]
    new: int
    known: Annotated[int, about("were there already, and were left as they are")]
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
