"""Handshakes and the kill switch: what is taken and what is given."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from api.http.bodies import Order, OrganizationName, body_config
from api.http.description import Answer, about, example
from api.http.parameters import ListParameters, Words, device_name

EnrollmentState = Literal[
    "challenged", "awaiting", "approved", "provisioning", "granted", "active", "rejected", "expired"
]


class Enrollment(Answer):
    txn: str
    cell: str
    serial: str
    device: Annotated[str, about("name that the device has or will get")]
    fingerprint: Annotated[str, about("fingerprint of the identity key; the controller's display shows the same")]
    state: Annotated[EnrollmentState, about("awaiting: an operator has to approve or deny it")]
    reason: Annotated[str | None, about("why it awaits an operator, or was rejected")]
    claim_version: int
    hardware: str | None
    firmware: str | None
    channels: Annotated[list[str], about("channels that the controller says it will send")]
    username: Annotated[str | None, about("user name of the login that it was given")]
    created_at: str
    changed_at: str
    expires_at: str | None


class CellAnswer(Answer):
    cell: str
    open: Annotated[bool, about("false: the kill switch stops all handshakes")]
    applied: Annotated[bool | None, about("what the broker was last told; null: nothing yet")]


ENROLLMENT = example(
    Enrollment,
    """{"txn": "5f0c1e2d3a4b59687786a5b4c3d2e1f0", "cell": "main", "serial": "BR-2044", "device": "BR-2044",
 "fingerprint": "QK7M2VBXW4TZ", "state": "awaiting", "reason": "unknown-serial", "claim_version": 1,
 "hardware": "rev C", "firmware": "2.4.1", "channels": ["ph", "temperature"], "username": null,
 "created_at": "2026-11-20T07:45:00.000000Z", "changed_at": "2026-11-20T07:45:00.000000Z",
 "expires_at": "2026-11-21T07:45:00.000000Z"}""",
)
CELL = {"cell": "main", "open": True, "applied": True}


class EnrollmentParameters(ListParameters):
    state: list[EnrollmentState] = Field([], description="only in these states; may be repeated; without it all")
    serial: str | None = Field(None, max_length=64, description="only of this serial")


class Approval(Order):
    device: Annotated[str, AfterValidator(device_name)] | None = Field(
        None, description="name for the device; without it, the serial"
    )
    fingerprint: Words | None = Field(None, description="as the display shows it: no other identity key is approved")
    organization: OrganizationName | None = Field(
        None, description="owner of the device; without it, that of the serial. Only the first organization sets it"
    )


class Switch(Order):
    model_config = body_config(open=False, why="a key was stolen")

    open: bool = Field(description="false: stop all handshakes")
    cell: Words | None = Field(None, description="only in this cell; without it, in all cells")
