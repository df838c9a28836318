"""The API's contract: docs/openapi.json and docs/http.md are what the code says, and no change breaks clients unseen.

`python -m tests.openapi` fails when one of the two files is not the code's, and names each change that a client can
notice. `--write` writes both (`make openapi`), but only with `--break` if such a change is among the new ones.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

from api.app import create_app
from api.settings import ApiSettings
from tests import http_page

Json: TypeAlias = dict[str, Any]

COMMITTED = Path(__file__).parents[1] / "docs" / "openapi.json"
PAGE = COMMITTED.with_name("http.md")
UNFOLDED = {"paths": 1, "components": 2}
"""How many levels below these members have a line for each member: one line a path, one line a schema component."""
METHODS = ("get", "put", "post", "delete", "patch", "head", "options")
LEAST = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
MOST = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
SAME = ("pattern", "format", "multipleOf", "uniqueItems")
DEEPEST = 12
"""Levels of a schema that are looked into: some refer to themselves."""


def document() -> Json:
    """What the code says; the caller may change it."""
    return json.loads(_encoded())  # type: ignore[no-any-return]


@cache
def _encoded() -> str:
    """Made once a process: it takes half a second."""
    settings = ApiSettings(database_url="postgresql://nobody@127.0.0.1/none")
    return json.dumps(create_app(settings).openapi())


def text(content: Json) -> str:
    """The document in the form that is committed: a diff shows the paths and components that changed, a line each."""
    members = (f' "{key}": {_unfolded(value, UNFOLDED.get(key, 0), "  ")}' for key, value in content.items())
    return "{\n" + ",\n".join(members) + "\n}\n"


def _unfolded(value: Any, levels: int, indent: str) -> str:
    """The JSON of a value, with a line for each member down to so many levels."""
    if levels == 0 or not value:
        return json.dumps(value, ensure_ascii=False)
    members = (
        f"{indent}{json.dumps(key)}: {_unfolded(member, levels - 1, indent + ' ')}" for key, member in value.items()
    )
    return "{\n" + ",\n".join(members) + f"\n{indent[1:]}}}"


def broken(old: Json, new: Json) -> list[str]:
    """What a client written for `old` can stumble over in `new`, in words."""
    return list(dict.fromkeys(Comparison(old, new).routes()))


class Comparison:
    def __init__(self, old: Json, new: Json) -> None:
        self.old, self.new = old, new

    def routes(self) -> Iterator[str]:
        for path, methods in self.old["paths"].items():
            for method in METHODS:
                if method not in methods:
                    continue
                name = f"{method.upper()} {path}"
                now = self.new["paths"].get(path, {}).get(method)
                if now is None:
                    yield f"{name}: is gone"
                else:
                    yield from (f"{name}: {what}" for what in self.route(methods[method], now))

    def route(self, old: Json, new: Json) -> Iterator[str]:
        if new.get("security") and not old.get("security"):
            yield "asks for credentials now"
        before, now = parameters(old), parameters(new)
        for key, parameter in before.items():
            where = f"parameter {key[1]} ({key[0]})"
            if key not in now:
                yield f"{where} is gone"
                continue
            if now[key].get("required") and not parameter.get("required"):
                yield f"{where} is required now"
            yield from self.narrower(where, parameter.get("schema", {}), now[key].get("schema", {}))
        for key, parameter in now.items():
            if key not in before and parameter.get("required"):
                yield f"parameter {key[1]} ({key[0]}) is new and required"
        yield from self.body(old.get("requestBody"), new.get("requestBody"))
        yield from self.responses(old["responses"], new["responses"])

    def body(self, old: Json | None, new: Json | None) -> Iterator[str]:
        if new is None:
            if old is not None:
                yield "the body is gone"
            return
        if new.get("required") and not (old or {}).get("required"):
            yield "the body is required now"
        for kind, content in (old or {}).get("content", {}).items():
            if kind not in new["content"]:
                yield f"the body as {kind} is gone"
            else:
                yield from self.narrower("body", content.get("schema", {}), new["content"][kind].get("schema", {}))

    def responses(self, old: Json, new: Json) -> Iterator[str]:
        for status, answer in old.items():
            if status not in new:
                yield f"status {status} is gone"
                continue
            for kind, content in answer.get("content", {}).items():
                now = new[status].get("content", {})
                if kind not in now:
                    yield f"{status} as {kind} is gone"
                else:
                    yield from self.poorer(f"{status}", content.get("schema", {}), now[kind].get("schema", {}))
            for header in answer.get("headers", {}):
                if header not in new[status].get("headers", {}):
                    yield f"{status} has no header {header} any more"

    def narrower(self, where: str, old: Json, new: Json, depth: int = 0) -> Iterator[str]:
        """What may be sent: each thing that was allowed must still be."""
        if depth > DEEPEST:
            return
        wanted = list(alternatives(new, self.new))
        for before in alternatives(old, self.old):
            fitting = [now for now in wanted if types(before) <= types(now)] or wanted
            yield from min((list(self._narrower(where, before, now, depth)) for now in fitting), key=len)

    def _narrower(self, where: str, old: Json, new: Json, depth: int) -> Iterator[str]:
        if not types(old) <= types(new):
            yield f"{where} was {named(old)}, is {named(new)}"
            return
        if "enum" in new:
            gone = [value for value in old.get("enum", ["anything else"]) if value not in new["enum"]]
            if gone:
                yield f"{where} cannot be {', '.join(map(str, gone))} any more"
        for bound in LEAST:
            if bound in new and new[bound] > old.get(bound, float("-inf")) and new[bound] != 0:
                yield f"{where}: {bound} was {old.get(bound)}, is {new[bound]}"
        for bound in MOST:
            if bound in new and new[bound] < old.get(bound, float("inf")):
                yield f"{where}: {bound} was {old.get(bound)}, is {new[bound]}"
        for rule in SAME:
            if rule in new and new[rule] != old.get(rule):
                yield f"{where}: {rule} was {old.get(rule)}, is {new[rule]}"
        yield from self._fields_sent(where, old, new, depth)
        if "items" in new:
            yield from self.narrower(f"{where}[]", old.get("items", {}), new["items"], depth + 1)

    def _fields_sent(self, where: str, old: Json, new: Json, depth: int) -> Iterator[str]:
        fields = new.get("properties", {})
        open_ = new.get("additionalProperties", True)
        for name, schema in old.get("properties", {}).items():
            if name in fields:
                yield from self.narrower(f"{where}.{name}", schema, fields[name], depth + 1)
            elif open_ is False:
                yield f"{where}.{name} is gone"
        if open_ is False and old.get("type") == "object" and old.get("additionalProperties", True) is not False:
            yield f"{where} takes no other fields any more"
        for name in new.get("required", []):
            if name not in old.get("required", []):
                yield f"{where}.{name} is required now"

    def poorer(self, where: str, old: Json, new: Json, depth: int = 0) -> Iterator[str]:
        """What is answered: each thing that can come now must be of a kind that could come before."""
        if depth > DEEPEST:
            return
        known = list(alternatives(old, self.old))
        for now in alternatives(new, self.new):
            fitting = [before for before in known if types(now) <= types(before)] or known
            yield from min((list(self._poorer(where, before, now, depth)) for before in fitting), key=len)

    def _poorer(self, where: str, old: Json, new: Json, depth: int) -> Iterator[str]:
        if not types(new) <= types(old):
            yield f"{where} was {named(old)}, is {named(new)}"
            return
        fields = new.get("properties", {})
        for name, schema in old.get("properties", {}).items():
            if name not in fields:
                yield f"{where}.{name} is gone"
                continue
            if name in old.get("required", []) and name not in new.get("required", []):
                yield f"{where}.{name} may be missing now"
            yield from self.poorer(f"{where}.{name}", schema, fields[name], depth + 1)
        if "items" in old:
            yield from self.poorer(f"{where}[]", old["items"], new.get("items", {}), depth + 1)


def parameters(route: Json) -> dict[tuple[str, str], Json]:
    return {(one["in"], one["name"]): one for one in route.get("parameters", [])}


def alternatives(schema: Json, whole: Json) -> Iterator[Json]:
    """The schemas one of which holds, with references followed."""
    while "$ref" in schema:
        target: Any = whole
        for step in schema["$ref"].removeprefix("#/").split("/"):
            target = target[step]
        schema = target
    for kind in ("anyOf", "oneOf"):
        if kind in schema:
            for one in schema[kind]:
                yield from alternatives(one, whole)
            return
    if "const" in schema:
        schema = {**schema, "enum": [schema["const"]]}
    if isinstance(schema.get("type"), list):
        for one in schema["type"]:
            yield {**schema, "type": one}
        return
    yield schema


ANYTHING = frozenset({"null", "boolean", "integer", "number", "string", "array", "object"})


def types(schema: Json) -> frozenset[str]:
    """A number may be written as an integer."""
    kind = schema.get("type")
    if kind is None:
        return ANYTHING
    return frozenset({"number", "integer"}) if kind == "number" else frozenset({kind})


def named(schema: Json) -> str:
    return str(schema.get("type", "anything"))


def main(arguments: list[str]) -> int:
    new = document()
    old = json.loads(COMMITTED.read_text()) if COMMITTED.exists() else {"paths": {}}
    for change in (breaking := broken(old, new)):
        print(f"breaking: {change}", file=sys.stderr)
    if "--write" in arguments:
        if breaking and "--break" not in arguments:
            print("not written: clients can notice this; make openapi ARGS=--break allows it", file=sys.stderr)
            return 1
        COMMITTED.write_text(text(new))
        PAGE.write_text(http_page.page(new))
        return 0
    current = {COMMITTED: text(new), PAGE: http_page.page(new)}
    stale = [path for path, wanted in current.items() if not path.exists() or path.read_text() != wanted]
    for path in stale:
        print(f"docs/{path.name} is not what the code says: run `make openapi`", file=sys.stderr)
    return int(bool(stale))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
