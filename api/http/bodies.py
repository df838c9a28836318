"""Bodies of requests: how they are read and described, and the fields that many have."""

from __future__ import annotations

import codecs
import json
import re
from typing import Annotated, Any, TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, StringConstraints, ValidationError

from api.http.parameters import Words, device_name, printable
from api.problems import BadParameter, TooLarge
from schema.unique_keys import RepeatedKey, check_json

MOST_BYTES = 65536


EMAIL = re.compile(r"[!-?A-~]+@[!-?A-~]+")
LONGEST_EMAIL = 254


def email(given: str) -> str:
    """The address in small letters. Raises ValueError if it is none."""
    given = given.strip().lower()
    if not EMAIL.fullmatch(given) or len(given) > LONGEST_EMAIL:
        raise ValueError(
            "is not an e-mail address: write name@host in ASCII, without umlauts, accents and spaces, of"
            f" {LONGEST_EMAIL} characters at most"
        )
    return given


Email = Annotated[str, AfterValidator(email), Field(json_schema_extra={"maxLength": LONGEST_EMAIL})]
OrganizationName = Annotated[str, StringConstraints(pattern="^[a-z0-9][a-z0-9-]{0,39}$")]


def body_config(**example: Any) -> ConfigDict:
    """The configuration of a body: unknown fields are refused, and errors do not repeat what was sent."""
    return ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, json_schema_extra={"example": example})


class Order(BaseModel):
    """What every change is told: for the audit trail."""

    model_config = body_config(why="tested")

    why: Words = Field(description="the reason")


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
    unambiguous(content)
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        errors = error.errors()
        if errors[0]["type"] == "json_invalid":
            example = kind.model_json_schema().get("example")
            raise BadParameter("body", f"is not JSON; send an object like {json.dumps(example)}") from error
        raise RequestValidationError(errors) from error


def unambiguous(content: bytes) -> None:
    """Refuse JSON in which a key stands twice: the last would win in silence, and a command would go to a device."""
    try:
        check_json(content)
    except RepeatedKey as error:
        raise BadParameter("body", f"{error}: give each key once") from error


async def body(request: Request, most: int) -> bytes:
    """The whole body, if it is not larger than that. Some editors and shells of Windows begin a file with a byte order
    mark, which is left out."""
    content = bytearray()
    async for part in request.stream():
        content += part
        if len(content) > most:
            raise TooLarge(f"the body has more than {most} bytes", headers={"Connection": "close"})
    return bytes(content).removeprefix(codecs.BOM_UTF8)


PersonName = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100), AfterValidator(printable)
]
Token = Annotated[SecretStr, Field(max_length=200)]


DeviceText = Annotated[str, AfterValidator(device_name)]
