"""docs/http.md out of the API's OpenAPI document and of the table of who may ask what: `make openapi` writes it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.api.questions import QUESTIONS, SOCKET, Question

BEGINNING = """# HTTP routes

All routes of the API. `make openapi` writes this page from the code, and `make check` fails when it is not current.
A running API shows every parameter and every answer, with examples and without internet, at `/docs`; the same as a file
is [openapi.json](openapi.json).

* **Who**: the least role in the organization, and the scope that an API key must have. The roles are, in rising order,
  viewer, control-room, operator, engineer and admin. *Everybody* needs no credentials, *any caller* needs some,
  *people* must have logged in: a key is not enough. [accounts.md](accounts.md) says how to get a key or a token.
* **Parameters** stand in the query, those in bold must be given; `If-Match` and its like are headers. *Body*: the
  route takes one. Unknown parameters are an error.
* **Formats**: JSON, and CSV where the parameter `format` is listed: by `Accept: text/csv`, `?format=csv`, or `.csv` at
  the end of the address. In CSV an apostrophe stands before a text that a
  spreadsheet would take for a formula.
* **Times** are ISO 8601 with a zone (a date alone is its midnight, `2026-11-20Z`), milliseconds since 1970 (a number
  that would mean a time before 2000 is refused), `now`, or a duration before now like `-24h`. All routes and commands
  read them alike; answers have UTC.
* **Lists** come in pages: `truncated` says that there is more, `next` is the `cursor` of the page that follows.
* **Errors** are problem documents (RFC 9457, `application/problem+json`) that say what to change.
* The gateway, the alarms process, the worker, the canary and the simulator also answer `/health`, `/ready` and
  `/metrics`, at addresses of their own ([reference.md](reference.md)).
"""
METHODS = ("get", "put", "post", "patch", "delete")
HEADERS = {"if-match": "If-Match", "if-none-match": "If-None-Match", "idempotency-key": "Idempotency-Key"}
BESIDE: dict[str, tuple[str, str]] = {
    f"{SOCKET} /api/v1/ws/alerts": ("alarms", "Alarms as they happen, as a WebSocket: [how](alarms.md#live)"),
    f"{SOCKET} /api/v1/ws/live-data": ("live", "Newest values as they are committed, as a WebSocket: [how](live.md)"),
    f"{SOCKET} /ws/live-data": ("live", "The same"),
    f"{SOCKET} /api/v1/ws/device-status": ("live", "Presence of devices, as a WebSocket: [how](live.md)"),
    f"{SOCKET} /ws/device-status": ("live", "The same"),
    f"{SOCKET} /api/v1/ws/activity": ("activity", "What happens, as a WebSocket: [how](live.md)"),
    f"{SOCKET} /ws/activity": ("activity", "The same"),
    "GET /api/v1/audit.jsonl": ("audit", "The whole audit trail, an event a line"),
}
"""Routes that OpenAPI cannot describe, or that stand in it under another address."""


def page(document: dict[str, Any]) -> str:
    """The whole page, for this OpenAPI document."""
    tables: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        for method in METHODS:
            if method in operations:
                operation = operations[method]
                tables.setdefault(operation["tags"][0], []).append(row(method.upper(), path, operation))
    for name, (tag, summary) in BESIDE.items():
        method, path = name.split(" ")
        tables[tag].append(row(method, path, {"summary": summary}))
    return BEGINNING + "".join(f"\n{section(tag, rows)}" for tag, rows in tables.items())


def section(tag: str, rows: list[str]) -> str:
    """The table of one tag."""
    head = "| method | path | what it does | who | parameters |\n|---|---|---|---|---|\n"
    return f"## {tag[:1].upper()}{tag[1:]}\n\n{head}" + "".join(rows)


def row(method: str, path: str, operation: dict[str, Any]) -> str:
    """The line of one route."""
    taken = ", ".join(parameters(operation)) or "–"
    return f"| {method} | `{path}` | {operation['summary']} | {who(QUESTIONS.get(f'{method} {path}'))} | {taken} |\n"


def who(question: Question | None) -> str:
    """Who may use a route, in words; a route that the table of questions lacks fails its own test."""
    if question is None:
        return "?"
    if not isinstance(question.needs, str):
        role, scope = question.needs
        return f"{role}, `{scope}`"
    if question.people:
        return "people"
    return {"nobody": "everybody", "caller": "any caller", "member": "any member"}[question.needs]


def parameters(operation: dict[str, Any]) -> Iterator[str]:
    """What a route takes beside its path: names, those that must be given in bold."""
    for parameter in operation.get("parameters", []):
        name = parameter["name"]
        if parameter["in"] == "path" or (name == "format" and "csv" not in str(parameter["schema"])):
            continue
        said = f"`{HEADERS.get(name.lower(), name)}`"
        yield f"**{said}**" if parameter.get("required") else said
    if "requestBody" in operation:
        yield "body"
