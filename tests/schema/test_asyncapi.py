"""The published contract is the one in the code."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import msgspec
import pytest

from schema.asyncapi import CHANNELS, Content, Example, document, text
from schema.topics import Down, Kind, topic

COMMITTED = Path(__file__).parents[2] / "docs" / "asyncapi.json"
EXAMPLES = [
    pytest.param(channel.content, example, id=f"{kind}-{example.name}")
    for kind, channel in CHANNELS.items()
    for example in channel.content.examples
]


def test_the_committed_document_is_current() -> None:
    assert COMMITTED.read_text() == text(), "run: python -m schema.asyncapi > docs/asyncapi.json"


def test_every_topic_is_in_it() -> None:
    addresses = {channel["address"] for channel in document()["channels"].values()}
    assert addresses == {topic("{device}", kind) for kind in (*Kind, *Down)}


@pytest.mark.parametrize(("content", "example"), EXAMPLES)
def test_an_example_decodes_from_both_formats(content: Content, example: Example) -> None:
    from_json = msgspec.json.decode(msgspec.json.encode(example.payload), type=content.type)
    from_msgpack = msgspec.msgpack.decode(msgpack.packb(example.payload), type=content.type)

    assert from_json == from_msgpack


@pytest.mark.parametrize(("content", "example"), EXAMPLES)
def test_an_example_has_no_field_that_nobody_reads(content: Content, example: Example) -> None:
    if isinstance(example.payload, dict):
        assert set(example.payload) <= set(content.type.__struct_fields__)


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for child in node.values():
            yield from references(child)
    elif isinstance(node, list):
        for child in node:
            yield from references(child)


def test_every_reference_leads_somewhere() -> None:
    whole = document()
    found = set(references(whole))
    assert found
    for reference in found:
        node = whole
        for step in reference.removeprefix("#/").split("/"):
            node = node[step]
