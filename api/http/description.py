"""What the OpenAPI description says of every route: its answers, with examples, and its problems."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any, Self, TypeAlias

import msgspec
from fastapi.routing import APIRoute
from msgspec import Meta
from pydantic import BaseModel, Field

from api import problems
from schema import times

Responses: TypeAlias = dict[int | str, dict[str, Any]]
"""Answers of a route by status, as FastAPI takes them."""


class Answer(msgspec.Struct, forbid_unknown_fields=True):
    """Base of what routes answer: one definition gives the JSON, its schema and the columns of CSV."""

    @classmethod
    def of(cls, row: Mapping[str, Any], **given: Any) -> Self:
        """The answer that a row holds: each field is given, or the column of its name; instants become text."""
        found = {name: given[name] if name in given else row[name] for name in cls.__struct_fields__}
        return cls(**{name: times.text(it) if isinstance(it, datetime) else it for name, it in found.items()})


def raw(document: str | None) -> Any:
    """The jsonb that asyncpg gives as text goes out as it is."""
    return None if document is None else msgspec.Raw(document.encode())


def about(text: str) -> Meta:
    """What the description says of a field."""
    return Meta(description=text)


Truncated = Annotated[bool, about("true: there is more; `next` leads to it")]
Following = Annotated[str | None, about("`cursor` of the next page; null on the last one")]
REFERENCE = "#/components/schemas/"


def reference(model: type[BaseModel]) -> dict[str, Any]:
    """The schema of a part that pydantic describes: where the description has it."""
    return {"$ref": f"{REFERENCE}{model.__name__}"}


def components(*models: type[BaseModel]) -> dict[str, Any]:
    """The schemas of all answers, of these models, and of the problem document."""
    _, answers = msgspec.json.schema_components(_below(Answer), ref_template=REFERENCE + "{name}")
    _complete(answers)
    found = {schema_name(name): schema | {"title": schema_name(name)} for name, schema in answers.items()}
    described: tuple[type[BaseModel], ...] = (Problem, *models)
    for model in described:
        schema = model.model_json_schema(mode="serialization", ref_template=REFERENCE + "{model}")
        more = schema.pop("$defs", {}) | {model.__name__: schema}
        assert found.keys().isdisjoint(more), f"two definitions of one name: {found.keys() & more.keys()}"
        found |= more
    return found


def schema_name(class_name: str) -> str:
    """Return the name that clients see: the class `AlarmAnswer` is the schema `Alarm`."""
    return class_name.removesuffix("Answer")


def _complete(schema: Any) -> None:
    """Say what msgspec leaves out: texts are strings, all fields that may not be UNSET are always there, and classes
    have public names."""
    if isinstance(schema, list):
        for part in schema:
            _complete(part)
    elif isinstance(schema, dict):
        if all(isinstance(value, str) for value in schema.get("enum", [None])):
            schema["type"] = "string"
        if "$ref" in schema:
            schema["$ref"] = schema_name(schema["$ref"])
        if "properties" in schema:
            always, those = schema.get("required", []), schema["properties"]
            schema["required"] = [name for name in those if name in always or "default" in those[name]]
        for part in schema.values():
            _complete(part)


def _below(kind: type[Answer]) -> list[type[Answer]]:
    return [one for direct in kind.__subclasses__() for one in (direct, *_below(direct))]


T, PAGE = "2026-11-20T07:45:00.000000Z", {"truncated": False, "next": None}


def with_examples(document: dict[str, Any], routes: Iterable[APIRoute], schemas: Mapping[str, Any]) -> dict[str, Any]:
    """Put the examples back as they were written: FastAPI leaves out the nulls, which have a meaning here. And add
    the schemas."""
    document["components"].setdefault("schemas", {}).update(schemas)
    for route in routes:
        for method in (route.methods or ()) if route.path_format in document["paths"] else ():
            for status, answer in document["paths"][route.path_format][method.lower()]["responses"].items():
                declared = route.responses.get(int(status), {}).get("content", {})
                given = declared.get("application/json", {}).get("examples")
                if given is not None:
                    answer["content"]["application/json"]["examples"] = given
            _only_its_formats(document["paths"][route.path_format][method.lower()])
    return document


def _only_its_formats(described: dict[str, Any]) -> None:
    """`format` of what there is as JSON alone."""
    if not any("text/csv" in answer.get("content", {}) for answer in described["responses"].values()):
        for parameter in described.get("parameters", []):
            if parameter["name"] == "format":
                parameter["schema"] = {"anyOf": [{"type": "string", "const": "json"}, {"type": "null"}]}
                parameter["description"] = "json, which is all that there is"


def example(kind: type[Answer], text: str) -> dict[str, Any]:
    """The JSON of an answer as clients see it. Raises ValidationError if it is no answer of this kind."""
    msgspec.json.decode(text, type=kind)
    found: dict[str, Any] = msgspec.json.decode(text)
    return found


def ok(model: type[msgspec.Struct], csv: str | None = None, **examples: Any) -> Responses:
    """The 200 of a route: schema and examples as JSON and, if it has that form, as CSV."""
    shown = {name: {"value": value} for name, value in examples.items()}
    content: dict[str, Any] = {
        "application/json": {"schema": {"$ref": f"{REFERENCE}{schema_name(model.__name__)}"}, "examples": shown}
    }
    if csv is not None:
        content["text/csv"] = {"schema": {"type": "string"}, "example": csv}
    return {200: {"content": content}}


def made(model: type[Answer], **examples: Any) -> Responses:
    """The 201 of a route."""
    return {201: ok(model, **examples)[200]}


def located(model: type[Answer], **examples: Any) -> Responses:
    """The 201 of a route that says where the new thing is."""
    where = {"Location": {"description": "its address", "schema": {"type": "string"}}}
    return {201: made(model, **examples)[201] | {"headers": where}}


ETAG = {"ETag": {"description": "its version", "schema": {"type": "string"}}}


def versioned(model: type[Answer], **examples: Any) -> Responses:
    """The 200 of a route whose answer has an ETag."""
    return {200: ok(model, **examples)[200] | {"headers": ETAG}}


def saved(model: type[Answer], **examples: Any) -> Responses:
    """What a PUT with a precondition answers: changed, made, or not as expected."""
    answer = versioned(model, **examples)[200]
    return {200: answer | {"description": "Changed, or as it was"}, 201: answer | {"description": "Made"}, **CHANGED}


NOTHING: Responses = {204: {"description": "Done; there is nothing to say"}}


class Problem(BaseModel):
    """The document itself, for the OpenAPI description. Members beyond these five depend on the type."""

    type: str = Field(description="urn:biogate:problem:…; stable, for programs")
    title: str = Field(description="what kind of problem, the same for every occurrence")
    status: int
    detail: str = Field(description="what happened here and what to change")
    instance: str = Field(description="the address that was asked")


def _problem(kind: type[problems.ApiError], when: str, detail: str) -> Responses:
    instance = "/api/v1/devices/br-1/telemetry"
    return _shown(when, problems.fields(kind.slug, kind.title, kind.status, detail, instance))


def _shown(when: str, example: dict[str, Any]) -> Responses:
    content = {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "example": example}}
    return {example["status"]: {"description": when, "content": content}}


HEAD_TOO_LARGE = problems.fields_of(
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "the request line and the headers have more than 32768 bytes", ""
)
ALWAYS = {
    **_problem(
        problems.TooMany,
        "Too many requests of this caller, or too many failures; see Retry-After",
        "too many requests: wait 1 s, then go on slower",
    ),
    **_shown("Address and headers are too large: send long lists in a body, where there is one", HEAD_TOO_LARGE),
    **_problem(problems.ApiError, "An error of ours; nothing of it is shown, it is in the log", problems.INTERNAL),
}
"""What a route can answer besides 200, for its OpenAPI description; so are those below."""
DATABASE = {
    **ALWAYS,
    **_problem(problems.Unauthorized, "No key, token or session that holds", "log in: send Authorization: Bearer …"),
    **_problem(
        problems.Forbidden,
        "The role, or the scope of the key, is not enough",
        "this is for the role engineer or higher; you are viewer in main",
    ),
    **_problem(
        problems.NotFound, "`Biogate-Organization` names none that the caller is in", "there is no such organization"
    ),
    **_problem(problems.NotAcceptable, "Neither JSON nor CSV is accepted", "use Accept: application/json or text/csv"),
    **_problem(
        problems.BadParameter,
        "A parameter is unknown, malformed or too much",
        "chanel: no such parameter; did you mean channel?",
    ),
    **_problem(problems.Unavailable, "The database is away or busy; see Retry-After", "the database cannot be reached"),
    **_problem(problems.TooLong, "The query took too long", "ask for a shorter time or wider buckets"),
}
DEVICE = DATABASE | _problem(problems.NotFound, "No device of that name is registered", "no device br-9 is registered")
THING = DATABASE | _problem(
    problems.NotFound, "There is no such thing", "there is no enrollment 5f0c1e2d3a4b59687786a5b4c3d2e1f0"
)
TOO_LARGE = _problem(problems.TooLarge, "The body is too large", "the body has more than 65536 bytes")
CHANGE = {
    **THING,
    **_problem(
        problems.Conflict, "It is not in a state for this", "device br-1 is retired: suspend needs it to be active"
    ),
    **TOO_LARGE,
}
NOT_AS_EXPECTED = _problem(
    problems.PreconditionFailed,
    "The precondition does not hold; `present` has what is",
    "nothing was asked of br-1: ph is 7.9",
)
CHANGED = _problem(
    problems.PreconditionFailed, "It was changed meanwhile: see If-Match", "device br-1 was changed meanwhile"
)
UNSUPPORTED = _problem(problems.Unsupported, "Neither JSON nor CSV", "send the rows as application/json or text/csv")
NO_SUCH_PART = _problem(problems.NotSatisfiable, "`Range` begins beyond the end", "the file has 4194304 bytes")
A_FORM = _problem(problems.Unsupported, "A form in place of the file", "the body is a form: send the file itself")
