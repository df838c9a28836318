"""The MQTT contract as an AsyncAPI 3.0 document, made from the topics and message types: `python -m schema.asyncapi`.

docs/asyncapi.json is its output; a test keeps it so. "Receive" is said from the gateway's side: a device publishes.
"""

from __future__ import annotations

import inspect
import json
import sys
from typing import Any, NamedTuple

import msgspec

from schema.messages import CONTENT_JSON, CONTENT_MSGPACK, Event, Status, Telemetry
from schema.topics import DEVICE_NAME, Kind, topic

VERSION = "1.0.0"
DESCRIPTION = """\
What a bioreactor's controller publishes. Publish with QoS 1 and without a message expiry. The content is MessagePack or
JSON, as the MQTT 5 property Content Type says, and else as its first byte shows. Unknown fields are ignored. Times are
milliseconds since the Unix epoch, UTC; a fraction is kept to the microsecond. A message is acknowledged (PUBACK) once
its content is stored, or is kept in quarantine with a reason; delivering one again does no harm.
"""
DEVICE = f"name under which the device is registered, `{DEVICE_NAME.pattern}`"
FORMATS = {"json": CONTENT_JSON, "msgpack": CONTENT_MSGPACK}


class Example(NamedTuple):
    name: str
    payload: dict[str, Any]


class Content(NamedTuple):
    """One of the message types, and what to publish with it."""

    name: str
    type: type[msgspec.Struct]
    title: str
    examples: tuple[Example, ...]


class Channel(NamedTuple):
    content: Content
    description: str
    retain: bool = False


TELEMETRY = Content(
    "telemetry",
    Telemetry,
    "A frame, or a block of frames",
    (
        Example(
            "frame",
            {
                "boot": 7,
                "seq": 90210,
                "t": 1767225600000,
                "v": {"temperature": 37.01, "ph": 7.02, "dissolved_oxygen": None},
                "q": {"ph": 2},
            },
        ),
        Example("frame without a sequence", {"t": 1767225600250.5, "v": {"torque": 12.5}}),
        Example(
            "block",
            {
                "boot": 7,
                "seq": 90211,
                "ch": ["temperature", "ph"],
                "t": [1767225601000, 1767225602000],
                "v": [[37.02, 7.01], [37.02, None]],
                "q": [[0, 0], [0, 1]],
            },
        ),
    ),
)
STATUS = Content(
    "status",
    Status,
    "The device came or went",
    (
        Example(
            "birth",
            {"status": "online", "t": 1767225600000, "boot": 7, "oldest": 86400, "firmware": "2.4.1"},
        ),
        Example("will of the same connection", {"status": "offline", "t": 1767225600000, "boot": 7}),
    ),
)
EVENT = Content(
    "event",
    Event,
    "Something that happened at an instant",
    (
        Example(
            "phase change",
            {"t": 1767225600000, "type": "phase", "boot": 7, "data": {"from": "batch", "to": "fed-batch"}},
        ),
        Example("dosing", {"t": 1767225660000, "type": "dosing", "data": {"channel": "feed_a_total", "mL": 12.5}}),
    ),
)

CHANNELS = {
    Kind.TELEMETRY: Channel(TELEMETRY, "Frames as they are measured."),
    Kind.HISTORY: Channel(
        TELEMETRY,
        "Frames sent again or late. Stored as telemetry is, but never taken for the latest, and no alarm is raised.",
    ),
    Kind.STATUS: Channel(
        STATUS,
        "Retained, and registered as the will when connecting, so that the broker says it when the device cannot.",
        retain=True,
    ),
    Kind.EVENT: Channel(EVENT, "Phase changes, dosing, calibration, local alarms."),
}


def document() -> dict[str, Any]:
    """The whole document, as JSON values."""
    contents = {channel.content.name: channel.content for channel in CHANNELS.values()}
    _, schemas = msgspec.json.schema_components(
        [content.type for content in contents.values()], ref_template="#/components/schemas/{name}"
    )
    for schema in schemas.values():  # Python keeps the docstrings' indentation up to 3.12
        schema["description"] = inspect.cleandoc(schema["description"])
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Biogate: from bioreactor to database", "version": VERSION, "description": DESCRIPTION},
        "defaultContentType": CONTENT_MSGPACK,
        "servers": {
            "broker": {
                "host": "{broker}",
                "protocol": "mqtt",
                "protocolVersion": "5.0",
                "variables": {"broker": {"default": "127.0.0.1:1883", "description": "host and port"}},
            }
        },
        "channels": {kind.value: _channel(kind, channel) for kind, channel in CHANNELS.items()},
        "operations": {f"receive-{kind}": _operation(kind, channel) for kind, channel in CHANNELS.items()},
        "components": {
            "messages": {
                f"{content.name}-{form}": _message(content, form) for content in contents.values() for form in FORMATS
            },
            "schemas": schemas,
        },
    }


def _channel(kind: Kind, channel: Channel) -> dict[str, Any]:
    return {
        "address": topic("{device}", kind),
        "description": channel.description,
        "parameters": {"device": {"description": DEVICE, "examples": ["br-101"]}},
        "messages": {form: {"$ref": f"#/components/messages/{channel.content.name}-{form}"} for form in FORMATS},
    }


def _operation(kind: Kind, channel: Channel) -> dict[str, Any]:
    return {
        "action": "receive",
        "channel": {"$ref": f"#/channels/{kind}"},
        "messages": [{"$ref": f"#/channels/{kind}/messages/{form}"} for form in FORMATS],
        "bindings": {"mqtt": {"qos": 1, "retain": channel.retain, "bindingVersion": "0.2.0"}},
    }


def _message(content: Content, form: str) -> dict[str, Any]:
    return {
        "name": content.type.__name__,
        "title": content.title,
        "contentType": FORMATS[form],
        "payload": {"$ref": f"#/components/schemas/{content.type.__name__}"},
        "examples": [{"name": example.name, "payload": example.payload} for example in content.examples],
    }


def text() -> str:
    """The document as it is committed."""
    return json.dumps(document(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(text())
