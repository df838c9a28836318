"""The pages say what the code does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args, get_type_hints

from api.app import create_app
from api.settings import Settings as ApiSettings
from schema.alarms import files, rules
from tests.reference import page

CHECKOUT = Path(__file__).parents[1]
PAGES = ("README.md", "ARCHITECTURE.md", "CHANGELOG.md")


def test_the_reference_is_current() -> None:
    written = (CHECKOUT / "docs" / "reference.md").read_text()
    assert written == page(), "run `python -m tests.reference > docs/reference.md`"


def test_every_file_and_module_that_a_page_names_is_there() -> None:
    for name in PAGES:
        for path in re.findall(r"`((?:gateway|api|device_sim|schema|deploy|tests|docs)/[\w/.-]*)`", text(name)):
            assert (CHECKOUT / path).exists(), f"{name} names {path}"
        for link in re.findall(r"\]\(([\w/.-]+)(?:#[\w-]+)?\)", text(name)):
            assert (CHECKOUT / link).exists(), f"{name} links to {link}"


def test_every_make_target_that_a_page_names_is_there() -> None:
    targets = set(re.findall(r"^([a-z]+):", text("Makefile"), re.MULTILINE))
    for name in PAGES:
        assert set(re.findall(r"`make ([a-z]+)`", text(name))) <= targets


def test_every_route_is_in_the_readme() -> None:
    app = create_app(ApiSettings(database_url="postgresql://user@127.0.0.1/name"))
    for path in app.openapi()["paths"]:
        assert f"`{path}`" in text("README.md"), path


def test_the_rules_on_the_page_of_alarms_are_rules_and_one_of_each_kind() -> None:
    [block] = re.findall(r"```yaml\n(.*?)```", text("docs/alarms.md"), re.DOTALL)
    kinds = [rule.when.kind for rule in files.load(block)]
    there_are = [get_args(get_type_hints(kind)["kind"])[0] for kind in get_args(get_args(rules.Condition)[0])]
    assert kinds == there_are


def text(name: str) -> str:
    return (CHECKOUT / name).read_text()
