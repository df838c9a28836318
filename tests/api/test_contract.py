"""The committed description is the code's, and a change that breaks clients is named."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests import http_page, openapi
from tests.openapi import COMMITTED, PAGE, broken, document, text

Change = Callable[[Any], object]
BASE: dict[str, Any] = {
    "paths": {
        "/things": {
            "get": {
                "parameters": [
                    {"in": "query", "name": "limit", "schema": {"type": "integer", "minimum": 1, "maximum": 100}},
                    {"in": "query", "name": "state", "schema": {"type": "string", "enum": ["on", "off"]}},
                    {"in": "query", "name": "name", "schema": {"anyOf": [{"type": "string"}, {"type": "null"}]}},
                ],
                "responses": {
                    "200": {
                        "content": {
                            "application/json": {"schema": {"$ref": "#/components/schemas/Things"}},
                            "text/csv": {"schema": {"type": "string"}},
                        },
                        "headers": {"Link": {}},
                    },
                    "404": {"content": {"application/problem+json": {}}},
                },
            },
            "post": {
                "requestBody": {
                    "content": {
                        "application/json": {
                            "schema": {
                                "type": "object",
                                "required": ["name"],
                                "properties": {
                                    "name": {"type": "string", "maxLength": 64},
                                    "tags": {"type": "array", "items": {"type": "string", "minLength": 1}},
                                    "kind": {"const": "vessel"},
                                },
                                "additionalProperties": False,
                            }
                        }
                    }
                },
                "responses": {"200": {}},
            },
        }
    },
    "components": {
        "schemas": {
            "Things": {
                "type": "object",
                "required": ["things", "next"],
                "properties": {
                    "things": {"type": "array", "items": {"$ref": "#/components/schemas/Thing"}},
                    "next": {"anyOf": [{"type": "string"}, {"type": "null"}]},
                },
            },
            "Thing": {
                "type": "object",
                "required": ["value"],
                "properties": {
                    "value": {"type": "number"},
                    "state": {"type": "string", "enum": ["on", "off"]},
                    "parts": {"type": "array", "items": {"$ref": "#/components/schemas/Thing"}},
                },
            },
        }
    },
}


def get(it: Any) -> Any:
    return it["paths"]["/things"]["get"]


def post(it: Any) -> Any:
    return it["paths"]["/things"]["post"]


def body(it: Any) -> Any:
    return post(it)["requestBody"]["content"]["application/json"]["schema"]


def asked(it: Any, number: int) -> Any:
    return get(it)["parameters"][number]["schema"]


def thing(it: Any) -> Any:
    return it["components"]["schemas"]["Thing"]


def things(it: Any) -> Any:
    return it["components"]["schemas"]["Things"]


NEW = {"in": "query", "name": "new", "schema": {"type": "string"}}
BREAKING: dict[str, Change] = {
    "GET /things: is gone": lambda it: it["paths"]["/things"].pop("get"),
    "POST /things: is gone": lambda it: it["paths"].pop("/things"),
    "parameter limit (query) is gone": lambda it: get(it)["parameters"].pop(0),
    "parameter limit (query) is required now": lambda it: get(it)["parameters"][0].update(required=True),
    "parameter new (query) is new and required": lambda it: get(it)["parameters"].append({**NEW, "required": True}),
    "parameter limit (query): maximum was 100, is 50": lambda it: asked(it, 0).update(maximum=50),
    "parameter limit (query): minimum was 1, is 2": lambda it: asked(it, 0).update(minimum=2),
    "parameter limit (query) was integer, is string": lambda it: asked(it, 0).update(type="string"),
    "parameter limit (query): multipleOf was None, is 10": lambda it: asked(it, 0).update(multipleOf=10),
    "parameter state (query) cannot be off any more": lambda it: asked(it, 1).update(enum=["on"]),
    "parameter name (query) was null, is string": lambda it: asked(it, 2).update(anyOf=[{"type": "string"}]),
    "parameter name (query): pattern was None, is ^a": lambda it: asked(it, 2)["anyOf"][0].update(pattern="^a"),
    "asks for credentials now": lambda it: get(it).update(security=[{"key": []}]),
    "status 404 is gone": lambda it: get(it)["responses"].pop("404"),
    "200 as text/csv is gone": lambda it: get(it)["responses"]["200"]["content"].pop("text/csv"),
    "200 has no header Link any more": lambda it: get(it)["responses"]["200"]["headers"].clear(),
    "200.things[].value is gone": lambda it: thing(it)["properties"].pop("value"),
    "200.things[].value was number, is string": lambda it: thing(it)["properties"]["value"].update(type="string"),
    "200.things[].value may be missing now": lambda it: thing(it)["required"].clear(),
    "200.things was array, is null": lambda it: things(it)["properties"].update(
        things={"anyOf": [things(it)["properties"]["things"], {"type": "null"}]}
    ),
    "the body is gone": lambda it: post(it).pop("requestBody"),
    "the body is required now": lambda it: post(it)["requestBody"].update(required=True),
    "the body as application/json is gone": lambda it: post(it)["requestBody"].update(content={"text/csv": {}}),
    "body.tags is gone": lambda it: body(it)["properties"].pop("tags"),
    "body.tags is required now": lambda it: body(it)["required"].append("tags"),
    "body.name: maxLength was 64, is 32": lambda it: body(it)["properties"]["name"].update(maxLength=32),
    "body.name: pattern was None, is ^a": lambda it: body(it)["properties"]["name"].update(pattern="^a"),
    "body.tags[]: minLength was 1, is 2": lambda it: body(it)["properties"]["tags"]["items"].update(minLength=2),
    "body.kind cannot be vessel any more": lambda it: body(it)["properties"].update(kind={"enum": ["tank"]}),
}
EXTENDING: dict[str, Change] = {
    "a route": lambda it: it["paths"].update({"/new": get(it)}),
    "a method": lambda it: it["paths"]["/things"].update(put=post(it)),
    "a parameter": lambda it: get(it)["parameters"].append(NEW),
    "a wider bound": lambda it: asked(it, 0).update(minimum=0, maximum=1000),
    "no bound": lambda it: asked(it, 0).clear(),
    "a value more to ask for": lambda it: asked(it, 1).update(enum=["on", "off", "standby"]),
    "a value more in an answer": lambda it: thing(it)["properties"]["state"].update(enum=["on", "off", "standby"]),
    "a field more in an answer": lambda it: thing(it)["properties"].update(unit={"type": "string"}),
    "a field always there": lambda it: thing(it)["required"].append("state"),
    "a number that is an integer now": lambda it: thing(it)["properties"]["value"].update(type="integer"),
    "an answer never null": lambda it: things(it)["properties"].update(next={"type": "string"}),
    "a field more to send": lambda it: body(it)["properties"].update(more={"type": "string"}),
    "a field not required": lambda it: body(it)["required"].clear(),
    "null may be sent": lambda it: body(it)["properties"].update(
        name={"anyOf": [{"type": "string", "maxLength": 64}, {"type": "null"}]}
    ),
    "a status more": lambda it: get(it)["responses"].update({"429": {}}),
    "a format more": lambda it: post(it)["requestBody"]["content"].update({"text/csv": {}}),
    "words": lambda it: get(it).update(summary="Things", description="All of them."),
}


@pytest.mark.parametrize(("words", "change"), BREAKING.items(), ids=list(BREAKING))
def test_a_breaking_change_is_named(words: str, change: Change) -> None:
    new = copy.deepcopy(BASE)
    change(new)
    assert any(found.endswith(words) for found in broken(BASE, new)), broken(BASE, new)


@pytest.mark.parametrize("change", EXTENDING.values(), ids=list(EXTENDING))
def test_an_extension_breaks_nothing(change: Change) -> None:
    new = copy.deepcopy(BASE)
    change(new)
    assert broken(BASE, new) == []
    assert text(new) != text(BASE)


def test_what_breaks_one_way_is_an_extension_the_other_way() -> None:
    for words in ("GET /things: is gone", "parameter limit (query): maximum was 100, is 50", "body.tags is gone"):
        new = copy.deepcopy(BASE)
        BREAKING[words](new)
        assert broken(BASE, new)
        assert broken(new, BASE) == []


def test_the_committed_document_is_current() -> None:
    assert COMMITTED.read_text() == text(document()), "run: make openapi"
    assert PAGE.read_text() == http_page.page(document()), "run: make openapi"


def test_the_committed_document_has_a_line_for_each_path_and_component() -> None:
    whole = document()
    lines = text(whole).splitlines()
    assert json.loads(text(whole)) == whole
    for path in whole["paths"]:
        assert sum(line.startswith(f'  "{path}": ') for line in lines) == 1, path
    for name in whole["components"]["schemas"]:
        assert sum(line.startswith(f'   "{name}": ') for line in lines) == 1, name
    assert len(lines) < len(whole["paths"]) + len(whole["components"]["schemas"]) + 20


def test_a_stale_page_of_routes_fails_the_check(elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert openapi.main(["--write", "--break"]) == 0
    openapi.PAGE.write_text(openapi.PAGE.read_text() + "\n")
    assert openapi.main([]) == 1
    assert "docs/http.md is not what the code says" in capsys.readouterr().err


def test_the_real_document_is_compared_down_to_its_fields() -> None:
    """The comparison is of use for what FastAPI writes, too."""
    old = document()
    assert broken(old, old) == []
    new = copy.deepcopy(old)
    new["components"]["schemas"]["Channel"]["properties"].pop("unit")
    found = broken(old, new)
    assert "GET /api/v1/devices/{device}/channels: 200.channels[].unit is gone" in found


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Another committed document: that of a time when there was one parameter more."""
    old = document()
    old["paths"]["/api/v1/devices"]["get"]["parameters"].append({"in": "query", "name": "colour", "schema": {}})
    path = tmp_path / "openapi.json"
    path.write_text(text(old))
    monkeypatch.setattr(openapi, "COMMITTED", path)
    page = tmp_path / "http.md"
    page.write_text(http_page.page(old))
    monkeypatch.setattr(openapi, "PAGE", page)
    return path


def test_a_break_is_written_only_when_it_is_meant(elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = elsewhere.read_text()
    assert openapi.main([]) == 1
    assert "breaking: GET /api/v1/devices: parameter colour (query) is gone" in capsys.readouterr().err
    assert openapi.main(["--write"]) == 1
    assert elsewhere.read_text() == before
    assert openapi.main(["--write", "--break"]) == 0
    assert openapi.main([]) == 0
    assert elsewhere.read_text() == text(document())


def test_a_stale_document_fails_the_check_without_a_break_too(
    elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = json.loads(elsewhere.read_text())
    old["paths"].pop("/api/v1/devices")
    elsewhere.write_text(text(old))
    assert openapi.main([]) == 1
    said = capsys.readouterr().err
    assert "breaking" not in said
    assert "make openapi" in said
    assert openapi.main(["--write"]) == 0


def test_make_check_runs_it() -> None:
    recipe = subprocess.run(["make", "-n", "check"], capture_output=True, text=True, check=True).stdout
    assert "python -m tests.openapi" in recipe
    assert subprocess.run([sys.executable, "-m", "tests.openapi"], check=False).returncode == 0


async def test_the_docs_need_no_internet(client: httpx2.AsyncClient) -> None:
    for page in ("/docs", "/redoc"):
        answer = await client.get(page)
        assert answer.status_code == 200
        wanted = re.findall(r"""(?:src|href)\s*=\s*["']([^"']+)""", answer.text)
        wanted += re.findall(r"url\(([^)]+)\)", answer.text)
        assert wanted
        assert not re.search(r"(?:https?:)?//(?!api\b)[\w.-]+\.\w", answer.text.replace("http://www.w3.org", ""))
        for address in wanted:
            assert (await client.get(address)).status_code == 200, address


def test_every_route_has_a_summary_and_examples() -> None:
    for path, methods in document()["paths"].items():
        for method, route in methods.items():
            name = f"{method} {path}"
            assert route.get("summary"), name
            good = [answer for status, answer in route["responses"].items() if status.startswith("2")]
            assert good, name
            for answer in good:
                for content in answer.get("content", {}).values():
                    binary = content.get("schema", {}).get("format") == "binary"
                    assert binary or "example" in content or "examples" in content, name
