"""The pages say what the code does, every page is found from the index, and every link leads somewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from api.shapes.standard_computed import STANDARD_COMPUTED
from device_sim.process.organism import PhaseWord
from device_sim.process.readings import CHANNELS
from schema.alarms import conditions, files, rules
from schema.channels import STANDARD
from schema.contents import DOORS
from schema.topics import Down, Kind, topic
from schema.units import DIMENSIONS
from tests import http_page
from tests.openapi import document
from tests.reference import page

CHECKOUT = Path(__file__).parents[1]
DOCS = CHECKOUT / "docs"
INDEX = DOCS / "README.md"
PAGES = sorted([*CHECKOUT.glob("*.md"), *DOCS.rglob("*.md")])
LINK = re.compile(r"\]\(([^)\s]*)\)")
FILE = re.compile(r"`((?:gateway|api|device_sim|schema|deploy|tests|docs)/[\w/.-]*)`")
LINES = {"README.md": 110, "ARCHITECTURE.md": 150}
GUARANTEES = 13
OURS = ("gateway", "api", "schema", "deploy", "device_sim")
ids = pytest.mark.parametrize("name", [str(path.relative_to(CHECKOUT)) for path in PAGES])


def text(name: str) -> str:
    return (CHECKOUT / name).read_text()


def bare(name: str) -> str:
    """The page without its blocks of code."""
    without = re.sub(r"^```.*?^```$", "", text(name), flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"^ {4,}.*$", "", without, flags=re.MULTILINE)


def anchors(path: Path) -> set[str]:
    """What may stand behind # in a link to a page: its headings as a forge turns them, and those set by hand."""
    content = path.read_text()
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", content, flags=re.DOTALL | re.M), re.MULTILINE)
    plain = (re.sub(r"<[^>]*>|`", "", heading).strip().lower() for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in plain} | set(
        re.findall(r'<a id="([^"]+)">', content)
    )


def links(path: Path) -> Iterator[tuple[Path, str]]:
    """The relative links of a page: the file that each leads to, and the anchor in it."""
    for link in LINK.findall(bare(str(path.relative_to(CHECKOUT)))):
        if not re.match(r"\w+:", link):
            file, _, anchor = link.partition("#")
            yield (path.parent / file).resolve() if file else path, anchor


@ids
def test_every_link_of_a_page_leads_to_a_file_and_to_a_heading_there(name: str) -> None:
    for target, anchor in links(CHECKOUT / name):
        assert target.exists(), target
        if anchor:
            assert anchor in anchors(target), f"{target.name}#{anchor}"


def test_every_page_is_found_from_the_index() -> None:
    found, waiting = {INDEX}, [INDEX]
    while waiting:
        for target, _ in links(waiting.pop()):
            if target.suffix == ".md" and target not in found:
                found.add(target)
                waiting.append(target)
    assert set(PAGES) <= found, sorted(str(path) for path in set(PAGES) - found)


@pytest.mark.parametrize(("name", "most"), LINES.items())
def test_the_first_pages_are_short(name: str, most: int) -> None:
    assert len(text(name).splitlines()) <= most


@ids
def test_every_file_and_module_that_a_page_names_is_there(name: str) -> None:
    for path in FILE.findall(text(name)):
        assert (CHECKOUT / path).exists(), path


@ids
def test_every_make_target_that_a_page_names_is_there(name: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", text("Makefile"), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)", text(name))) <= targets


@ids
def test_pages_call_the_command_and_not_its_modules(name: str) -> None:
    called = set(re.findall(rf"python -m ((?:{'|'.join(OURS)})\b[\w.]*)", text(name)))
    assert called <= {"schema.asyncapi"}  # which developers run, and nobody else


def test_the_reference_is_current() -> None:
    assert text("docs/reference.md") == page(), "run `python -m tests.reference > docs/reference.md`"


def test_every_route_is_on_the_page_of_routes_and_says_who_may_use_it() -> None:
    written = text("docs/http.md")
    assert written == http_page.page(document()), "run `make openapi`"
    for path in document()["paths"]:
        assert f"`{path}`" in written, path
    assert "| ? |" not in written, "a route has no question in tests/api/questions.py"


def test_the_standard_list_is_on_the_page_of_channels() -> None:
    wanted = [
        f"| `{it.name}` | {it.unit} | {it.description} | {it.kind} | {it.low:g} to {it.high:g} | {it.decimals} |"
        for it in STANDARD
    ]
    lines = text("docs/channels.md").splitlines()
    assert [line for line in lines if line.startswith("| `")] == wanted
    for dimension, units in DIMENSIONS.items():
        assert f"| {dimension} | {', '.join(units)} |" in lines


def test_the_standard_list_is_on_the_page_of_computed_channels() -> None:
    lines, page = text("docs/computed.md").splitlines(), " ".join(text("docs/computed.md").split())
    wanted = [f"| `{it.name}` | {it.definition.unit} | `{it.definition.formula}` |" for it in STANDARD_COMPUTED]
    assert [line for line in lines if line.startswith("| `") and "| `" in line[3:]] == wanted
    for it in STANDARD_COMPUTED:
        said = f"* {it.definition.title} (`{it.name}`). {it.assumptions} Source: {it.definition.source}."
        assert said in page, it.name


def test_every_topic_is_on_the_page_for_firmware() -> None:
    for kind in (*Kind, *Down):
        assert f"`{topic('{device}', kind)}`" in text("docs/firmware.md"), kind
    for door in DOORS.values():
        assert door.address.replace("{txn}", "<txn>") in text("docs/enrollment.md"), door.address


def test_the_rules_on_the_page_of_alarms_are_rules_and_one_of_each_kind() -> None:
    [block] = re.findall(r"```yaml\n(.*?)```", text("docs/alarms.md"), re.DOTALL)
    examples = files.load(block)
    there_are = [get_args(get_type_hints(kind)["kind"])[0] for kind in get_args(get_args(rules.Condition)[0])]
    assert [rule.when.kind for rule in examples] == there_are
    for rule in examples:
        assert conditions.test(rule) is not None
        assert rule.channels <= set(CHANNELS), "our simulator sends it"
        assert set(rule.scope.phases) <= set(get_args(PhaseWord))
        assert rule.scope.devices == rule.scope.tags == [], "our simulator's devices have no tags"


# -- decisions and guarantees, which the code names by their numbers


def decisions() -> list[tuple[str, int, str]]:
    """Page, number and title of each decision."""
    found = []
    for path in sorted((DOCS / "decisions").glob("*.md")):
        for anchor, number, title in re.findall(r'^## <a id="(\d+)"></a>(\d+)\. (.*)$', path.read_text(), re.MULTILINE):
            assert anchor == number, f"{path.name}: {title}"
            found.append((path.name, int(number), title))
    return found


def test_decisions_are_numbered_without_a_gap_and_listed() -> None:
    made = sorted((number, title, page) for page, number, title in decisions())
    assert [number for number, _, _ in made] == list(range(1, len(made) + 1))
    listed = re.findall(r"^\| (\d+) \| (.*) \| \[\w+\]\(([\w.]+)#(\d+)\) \|$", text("docs/decisions/README.md"), re.M)
    assert [(int(number), title, page) for number, title, page, _ in listed] == made
    assert all(number == anchor for number, _, _, anchor in listed)


def test_decisions_and_guarantees_that_are_named_by_number_exist() -> None:
    most = max(number for _, number, _ in decisions())
    guarantees = re.findall(r"^(\d+)\. \*\*", text("ARCHITECTURE.md"), re.MULTILINE)
    assert guarantees == [str(number) for number in range(1, GUARANTEES + 1)]
    sources = chain.from_iterable((CHECKOUT / part).rglob("*.py") for part in (*OURS, "tests"))
    for path in (*PAGES, *sources):
        content = path.read_text()
        for number in re.findall(r"\bdecision (\d+)\b", content, re.IGNORECASE):
            assert 1 <= int(number) <= most, f"{path}: decision {number}"
        for number in re.findall(r"\bguarantee (\d+)\b", content, re.IGNORECASE):
            assert 1 <= int(number) <= GUARANTEES, f"{path}: guarantee {number}"
