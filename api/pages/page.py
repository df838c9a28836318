"""What all pages share: their router, who is asking, and how a template becomes an answer.

A page asks the same queries as the routes, through the same guard; it never asks our own HTTP. Its address names the
organization, so that a link opens what its sender saw, and two tabs may show two organizations.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args
from urllib.parse import parse_qsl, quote

import msgspec
from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from pydantic import BaseModel, Field, ValidationError

from api.access.guard import Member
from api.access.roles import Principal, Role, Scope
from api.http import plain_words
from api.http.bodies import MOST_BYTES, body
from api.http.description import Answer
from api.pages import words
from api.pages.static import StaticFiles
from api.problems import BadParameter
from api.queries import corrections
from api.services import App, Services
from schema import times

TEMPLATES = Path(__file__).parent / "templates"
ORGANIZATION = "/app/{organization}"
Form = TypeVar("Form", bound=BaseModel)
Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])
TRUTHS = {"true": True, "false": False}
Version = Annotated[int, Field(ge=0, lt=2**31)]
"""The version of a thing that a form was made from."""


class PageRouter(APIRouter):
    """The pages of one subject, below the address of an organization."""

    def __init__(self, *guards: Any, prefix: str = ORGANIZATION) -> None:
        super().__init__(prefix=prefix, dependencies=guards, include_in_schema=False)


@cache
def static_files() -> StaticFiles:
    return StaticFiles.load()


@cache
def environment() -> Environment:
    """Return the templates. What a template names and nobody gives is an error, not an empty text."""
    found = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.globals |= {"static": static_files().url, "Role": Role, "Scope": Scope, "clock": lambda: datetime.now(UTC)}
    found.filters |= {
        "number": plain_words.number,
        "channel": plain_words.channel,
        "moment": words.moment,
        "since": words.since,
        "plural": words.plural,
        "quality": plain_words.quality,
        "signature_state": plain_words.signature_state,
        "clock_offset": plain_words.clock_offset,
        "program": plain_words.program,
        "correction": corrections.words,
        "unit": plain_words.unit,
        "utc": plain_words.utc,
        "iso": times.text,
        "parsed": _parsed,
        "state": words.state,
        "decoded": msgspec.json.decode,
        "text": lambda document: bytes(document).decode(),
        "segment": lambda text: quote(text, safe=""),
        "json": lambda value: msgspec.json.encode(value).decode(),
    }
    return found


def _parsed(document: msgspec.Raw | None) -> list[tuple[str, Any]]:
    """Return names and values of an object that a query gives as JSON."""
    return [] if document is None else list(msgspec.json.decode(document).items())


def render(template: str, status: int = 200, headers: Mapping[str, str] | None = None, **values: Any) -> HTMLResponse:
    """Return a page of nobody in particular. Raises jinja2.UndefinedError for a value that is missing."""
    return HTMLResponse(environment().get_template(template).render(values), status, headers)


def is_partial(request: Request) -> bool:
    """Whether htmx asks for a part of a page."""
    return request.headers.get("hx-request") == "true" and request.headers.get("hx-request-type") != "full"


@dataclass(frozen=True, slots=True)
class Page:
    """A page of an organization for one of its members."""

    request: Request
    app: Services
    member: Principal

    def url(self, path: str = "") -> str:
        """Return the address of another page of the same organization; `path` is without a slash at its begin."""
        return f"/app/{self.member.organization}/{path}"

    def may(self, role: str, scope: str) -> bool:
        """Whether the member may do what needs this role and scope, by their names."""
        return self.member.may(Role(role), Scope(scope))

    @property
    def origin(self) -> str:
        """The scheme and host by which the reader knows this server."""
        return f"{self.request.url.scheme}://{self.request.url.netloc}"

    async def form(self, kind: type[Form], **lists: str) -> Form:
        """See `form`."""
        return await form(self.request, kind, **lists)

    def show(self, template: str, status: int = 200, **values: Any) -> HTMLResponse:
        """Return a template with these values; it also knows `page`."""
        return render(template, status, page=self, **values)

    def go(self, to: str) -> Response:
        """Answer an act that has succeeded by leading to a page."""
        if is_partial(self.request):
            return Response(status_code=204, headers={"HX-Redirect": self.url(to)})
        return RedirectResponse(self.url(to), 303)

    def done(self, what: str, to: str = "") -> Response:
        """Answer an act that has succeeded: the browser says `what` and reads anew what has changed, or without
        JavaScript goes `to` that page."""
        if is_partial(self.request):
            return Response(status_code=204, headers={"HX-Trigger": json.dumps({"changed": {"said": what}})})
        return RedirectResponse(self.url(to), 303)


async def _page(request: Request, app: App, member: Member) -> Page:
    return Page(request, app, member)


OrganizationPage = Annotated[Page, Depends(_page)]


async def form(request: Request, kind: type[Form], **lists: str) -> Form:
    """Return the fields of a form as `kind`. An empty field is one that is not given; a field in `lists` is split at
    the sign that stands there. Raises BadParameter, whose text names the field and says what to change."""
    return parsed(await body(request, MOST_BYTES), kind, **lists)


def parsed(content: bytes, kind: type[Form], **lists: str) -> Form:
    """See `form`."""
    try:
        fields = parse_qsl(content.decode(), keep_blank_values=False, strict_parsing=bool(content), max_num_fields=1000)
    except ValueError as error:
        raise BadParameter("form", "is none: send application/x-www-form-urlencoded") from error
    given: dict[str, Any] = {}
    known = {field.alias or name: field.annotation for name, field in kind.model_fields.items()}
    for name, sent in fields:
        value = sent.replace("\r\n", "\n")  # browsers end the lines of a text so
        if name in lists:
            given.setdefault(name, []).extend(part.strip() for part in value.split(lists[name]) if part.strip())
        else:
            given[name] = _typed(value, known.get(name))
    return validated(given, kind)


def validated(given: Mapping[str, Any], kind: type[Form]) -> Form:
    """Return fields as `kind`. Raises BadParameter."""
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or first.get("ctx", {}).get("parameter", "form")
        raise BadParameter(field, first["msg"].removeprefix("Value error, ")) from error


def _typed(value: str, annotation: Any) -> Any:
    """Return the text of a field as the number or truth that it stands for: a strict model takes no text for one."""
    kinds = _kinds(annotation)
    if bool in kinds and value in TRUTHS:
        return TRUTHS[value]
    if kinds & {int, float} and str not in kinds:
        try:
            return int(value) if int in kinds and float not in kinds else float(value)
        except ValueError:
            pass  # the model says what is wrong
    return value


def _kinds(annotation: Any) -> set[Any]:
    parts = get_args(annotation)
    return set().union(*map(_kinds, parts)) if parts else {annotation} if isinstance(annotation, type) else set()


def shown(answer: Answer) -> dict[str, Any]:
    """Return an answer of a route as a template takes it."""
    found: dict[str, Any] = msgspec.to_builtins(answer)
    return found
