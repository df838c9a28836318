"""Who may see serials and change things: for now, who shows the operator token. Accounts will replace `operator`."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from api.parameters import device_name
from api.problems import BadParameter, TooLarge

MOST_BYTES = 65536


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("has characters that cannot be printed")
    return text


Words = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1000), AfterValidator(_printable)
]


class Order(BaseModel):
    """What every change is told: for the audit trail."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, json_schema_extra={"example": {"who": "eva", "why": "tested"}}
    )

    who: Words = Field(description="who does it")
    why: Words = Field(description="the reason")


class Approval(Order):
    device: Annotated[str, AfterValidator(device_name)] | None = Field(
        None, description="the name it gets; without it, its serial"
    )
    fingerprint: Words | None = Field(None, description="as the display shows it: no other identity key is approved")


class Switch(Order):
    model_config = ConfigDict(json_schema_extra={"example": {"open": False, "who": "eva", "why": "a key was stolen"}})

    open: bool = Field(description="false: no handshake works any more")
    cell: Words | None = Field(None, description="only in this cell; without it in all")


Kind = TypeVar("Kind", bound=Order)


def described(kind: type[Order]) -> dict[str, Any]:
    """The body of a route, for its OpenAPI description: FastAPI itself would read it before it asks for the token."""
    content = {"application/json": {"schema": kind.model_json_schema()}}
    return {"requestBody": {"required": True, "content": content}}


async def order(request: Request, kind: type[Kind]) -> Kind:
    """The body as that kind of order."""
    content = await body(request, MOST_BYTES)
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        errors = error.errors()
        if errors[0]["type"] == "json_invalid":
            raise BadParameter("body", 'is not JSON; send an object like {"who": "eva", "why": "tested"}') from error
        raise RequestValidationError(errors) from error


async def body(request: Request, most: int) -> bytes:
    """The whole body, if it is not larger than that."""
    content = bytearray()
    async for part in request.stream():
        content += part
        if len(content) > most:
            raise TooLarge(f"the body has more than {most} bytes", headers={"Connection": "close"})
    return bytes(content)
