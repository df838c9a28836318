"""The published contract is the one in the code."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import msgspec
import pytest

from schema.alarms.retained import RetainedAlarm
from schema.asyncapi import document, text
from schema.contents import ALARM, CHANNELS, DOORS, Content
from schema.enrollment import Reply, Request, reply_topic, request_topic
from schema.topics import Down, Kind, alarm_topic, topic

COMMITTED = Path(__file__).parents[2] / "docs" / "asyncapi.json"
EXAMPLES = [
    pytest.param(channel.content, example, id=f"{kind}-{name}")
    for kind, channel in [*CHANNELS.items(), ("alarm", ALARM)]
    for name, example in channel.content.examples.items()
]
STEPS = [
    pytest.param(Request if door.from_device else Reply, content, example, id=f"{content.name}-{name}")
    for door in DOORS.values()
    for content in door.contents
    for name, example in content.examples.items()
]


def test_the_committed_document_is_current() -> None:
    assert COMMITTED.read_text() == text(), "run: python -m schema.asyncapi > docs/asyncapi.json"


def test_every_topic_is_in_it() -> None:
    addresses = {channel["address"] for channel in document()["channels"].values()}
    topics = {topic("{device}", kind) for kind in (*Kind, *Down)}
    more = {request_topic("{txn}"), reply_topic("{txn}"), alarm_topic("{device}", "{rule}")}
    assert addresses == topics | more


def test_its_servers_are_the_brokers_listeners() -> None:
    listeners = re.findall(r"^listener (\d+)", (COMMITTED.parents[1] / "mosquitto.conf").read_text(), re.MULTILINE)
    hosts = [server["host"] for server in document()["servers"].values()]
    assert sorted(hosts) == sorted(f"{{broker}}:{port}" for port in listeners)


@pytest.mark.parametrize(("content", "example"), EXAMPLES)
def test_an_example_decodes_from_both_formats(content: Content, example: Any) -> None:
    from_json = msgspec.json.decode(msgspec.json.encode(example), type=content.type)
    from_msgpack = msgspec.msgpack.decode(msgpack.packb(example), type=content.type)

    assert from_json == from_msgpack


@pytest.mark.parametrize(("content", "example"), EXAMPLES)
def test_an_example_has_no_field_that_nobody_reads(content: Content, example: Any) -> None:
    if isinstance(example, dict):
        assert set(example) <= set(content.type.__struct_fields__)


def test_a_retained_alarm_has_the_fields_of_an_alarm_in_the_api() -> None:
    theirs = json.loads((COMMITTED.parent / "openapi.json").read_text())["components"]["schemas"]
    ours, api = document()["components"]["schemas"], theirs["Alarm"]["properties"]
    evaluation = {"not_evaluated", "evaluated_until", "received_until", "clock_set_back_at", "numbers_back_at"}
    assert set(RetainedAlarm.__struct_fields__) == set(api) - evaluation
    assert set(ours["AlarmState"]["enum"]) == set(theirs["AlarmState"]["enum"])
    assert set(ours["Condition"]["enum"]) == set(theirs["Condition"]["enum"])
    assert set(ours["RetainedAlarm"]["properties"]["priority"]["enum"]) == set(api["priority"]["enum"])


@pytest.mark.parametrize(("direction", "content", "example"), STEPS)
def test_an_example_of_a_handshake_is_read_as_what_it_is(direction: Any, content: Content, example: Any) -> None:
    encoded = msgspec.json.encode(example)
    assert isinstance(msgspec.json.decode(encoded, type=direction), content.type)
    assert set(example) <= {"type", *content.type.__struct_fields__}


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


def patterns(found: Any) -> Iterator[str]:
    """All patterns of a JSON document."""
    if isinstance(found, dict):
        yield from (value for name, value in found.items() if name == "pattern")
        found = list(found.values())
    if isinstance(found, list):
        for inner in found:
            yield from patterns(inner)


FITTING = ("0" * 32, "S-1", "A" * 43, "A" * 86, "A" * 22, "A" * 16, "setpoint")


@pytest.mark.parametrize("pattern", sorted(set(patterns(document()))))
def test_a_line_feed_at_the_end_is_no_part_of_what_a_pattern_allows(pattern: str) -> None:
    """Python's `$` alone would let it through, where a name becomes a part of a topic, a key or a header."""
    [text] = [text for text in FITTING if re.search(pattern, text)][:1]
    assert not re.search(pattern, text + "\n")
