"""Bodies of changes: what is to be done, and why. Who does it is the caller, whatever a body says."""

from __future__ import annotations

import json
from typing import Annotated, Any, TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from api.parameters import Instant, device_name
from api.problems import BadParameter, TooLarge

MOST_BYTES = 65536
MOST_TAGS = 32


def printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("has characters that cannot be printed")
    return text


def prose(text: str) -> str:
    """Text of several lines."""
    if not all(sign.isprintable() or sign in "\n\t" for sign in text):
        raise ValueError("has characters that cannot be printed")
    return text


Words = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1000), AfterValidator(printable)
]
OrganizationName = Annotated[str, StringConstraints(pattern="^[a-z0-9][a-z0-9-]{0,39}$")]
Tag = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=40), AfterValidator(printable)]


Title = Annotated[str, StringConstraints(strip_whitespace=True, max_length=100), AfterValidator(printable)]
Location = Annotated[str, StringConstraints(strip_whitespace=True, max_length=200), AfterValidator(printable)]


class Order(BaseModel):
    """What every change is told: for the audit trail."""

    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra={"example": {"why": "tested"}})

    why: Words = Field(description="the reason")


class Approval(Order):
    device: Annotated[str, AfterValidator(device_name)] | None = Field(
        None, description="the name it gets; without it, its serial"
    )
    fingerprint: Words | None = Field(None, description="as the display shows it: no other identity key is approved")
    organization: OrganizationName | None = Field(
        None, description="whose the device will be; without it, whose its serial is. Only the first organization says"
    )


class Switch(Order):
    model_config = ConfigDict(json_schema_extra={"example": {"open": False, "why": "a key was stolen"}})

    open: bool = Field(description="false: no handshake works any more")
    cell: Words | None = Field(None, description="only in this cell; without it in all")


class Gift(Order):
    model_config = ConfigDict(json_schema_extra={"example": {"organization": "north", "why": "sold"}})

    organization: OrganizationName = Field(description="its name; whose the device will be, with all that it has sent")


class DeviceChange(Order):
    model_config = ConfigDict(
        json_schema_extra={
            "example": {"title": "Fermenter 3", "location": "Hall 2/Bay 4", "tags": ["pilot"], "why": "moved"}
        }
    )

    title: Title | None = Field(None, description="what people call it; empty: none")
    location: Location | None = Field(
        None, description="where it stands, the larger place first; empty: nobody says where"
    )
    tags: Annotated[list[Tag], Field(max_length=MOST_TAGS)] | None = Field(
        None, description="all of them: others go; each once, sorted"
    )


class Annotation(BaseModel):
    """Without a reason: the text is one."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={"example": {"begins": "2026-11-20T07:45:00Z", "text": "Probe changed"}},
    )

    begins: Instant = Field(description="first instant that it is about")
    ends: Instant | None = Field(None, description="last instant; without it, it is about one instant")
    text: Annotated[
        str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000), AfterValidator(prose)
    ] = Field(description="what is to be known")


Kind = TypeVar("Kind", bound=BaseModel)


def described(kind: type[BaseModel]) -> dict[str, Any]:
    """The body of a route, for its OpenAPI description: FastAPI itself would read it before it asks who is calling."""
    content = {"application/json": {"schema": inlined(kind.model_json_schema())}}
    return {"requestBody": {"required": True, "content": content}}


def inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema without references: they would be looked for in the whole document. None refers to itself."""
    parts = schema.get("$defs", {})

    def written_out(part: Any) -> Any:
        if isinstance(part, list):
            return [written_out(one) for one in part]
        if not isinstance(part, dict):
            return part
        if "$ref" in part:
            part = parts[part["$ref"].rpartition("/")[2]] | {key: part[key] for key in part if key != "$ref"}
        return {key: written_out(value) for key, value in part.items() if key not in {"$defs", "discriminator"}}

    found: dict[str, Any] = written_out(schema)
    return found


async def order(request: Request, kind: type[Kind], content: bytes | None = None) -> Kind:
    """The body as that kind of order."""
    content = await body(request, MOST_BYTES) if content is None else content
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        errors = error.errors()
        if errors[0]["type"] == "json_invalid":
            example = kind.model_json_schema().get("example")
            raise BadParameter("body", f"is not JSON; send an object like {json.dumps(example)}") from error
        raise RequestValidationError(errors) from error


async def body(request: Request, most: int) -> bytes:
    """The whole body, if it is not larger than that."""
    content = bytearray()
    async for part in request.stream():
        content += part
        if len(content) > most:
            raise TooLarge(f"the body has more than {most} bytes", headers={"Connection": "close"})
    return bytes(content)
