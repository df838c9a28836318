"""The MQTT contract as an AsyncAPI 3.0 document, made from the topics and message types: `python -m schema.asyncapi`.

docs/asyncapi.json is its output; a test keeps it so. "Receive" is said from the gateway's side: a device publishes.
"""

from __future__ import annotations

import inspect
import json
import sys
from typing import Any, NamedTuple

import msgspec

from schema.messages import CONTENT_JSON, CONTENT_MSGPACK, Backfill, BackfillResult, Event, Receipt, Status, Telemetry
from schema.topics import DEVICE_NAME, Down, Kind, topic

VERSION = "1.0.0"
DESCRIPTION = """\
What a bioreactor's controller publishes and is told. Publish with QoS 1 and without a message expiry. The content is
MessagePack or JSON, as the MQTT 5 property Content Type says, and else as its first byte shows. Unknown fields are
ignored. Times are milliseconds since the Unix epoch, UTC; a fraction is kept to the microsecond. The broker's
acknowledgement (PUBACK) says that the broker has a message, not that it is stored; with reason 0x10, no matching
subscribers, nobody has it. Only a receipt says that a frame is stored. Delivering a message again does no harm.
"""
DEVICE = f"name under which the device is registered, `{DEVICE_NAME.pattern}`"
FORMATS = {"json": CONTENT_JSON, "msgpack": CONTENT_MSGPACK}


class Example(NamedTuple):
    name: str
    payload: Any


class Content(NamedTuple):
    """One of the message types, and what to publish with it."""

    name: str
    type: Any
    title: str
    examples: tuple[Example, ...]


class Channel(NamedTuple):
    content: Content
    description: str
    retain: bool = False
    forms: tuple[str, ...] = ("json", "msgpack")


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
            {"status": "online", "t": 1767225600000, "boot": 7, "oldest": 86400, "firmware": "2.4.1", "generation": 1},
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

RECEIPT = Content(
    "receipt",
    Receipt,
    "Up to where everything is stored",
    (Example("two boots", [[6, 86399], [7, 90211]]),),
)
BACKFILL = Content(
    "backfill",
    Backfill,
    "Frames that have not arrived",
    (Example("two holes", {"boot": 7, "ranges": [[90100, 90119], [90200, 90200]]}),),
)
BACKFILL_RESULT = Content(
    "backfill-result",
    BackfillResult,
    "Frames that the device does not have any more",
    (Example("lost", {"boot": 7, "ranges": [[90100, 90104]]}),),
)

CHANNELS: dict[Kind | Down, Channel] = {
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
    Down.RECEIPT: Channel(
        RECEIPT,
        "Pairs of boot and seq: of that boot every frame up to that seq is stored, or is in quarantine, or is known to "
        "be lost. A device may forget a frame once a receipt covers it, and not before.",
        retain=True,
        forms=("json",),
    ),
    Down.BACKFILL: Channel(
        BACKFILL,
        "Send these frames on the history topic; both ends of a range are included. A request is repeated until the "
        "frames have arrived or are reported as lost; answering twice does no harm.",
        forms=("json",),
    ),
    Kind.BACKFILL_RESULT: Channel(
        BACKFILL_RESULT, "What of a request the device does not have any more. It is not asked for again."
    ),
}


def document() -> dict[str, Any]:
    """The whole document, as JSON values."""
    contents = {channel.content.name: channel.content for channel in CHANNELS.values()}
    _, schemas = msgspec.json.schema_components(
        [content.type for content in contents.values() if isinstance(content.type, type)],
        ref_template="#/components/schemas/{name}",
    )
    for schema in schemas.values():  # Python keeps the docstrings' indentation up to 3.12
        schema["description"] = inspect.cleandoc(schema["description"])
    schemas["Receipt"] = msgspec.json.schema(Receipt)
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
        "channels": {_id(kind): _channel(kind, channel) for kind, channel in CHANNELS.items()},
        "operations": {f"{_action(kind)}-{_id(kind)}": _operation(kind, channel) for kind, channel in CHANNELS.items()},
        "components": {
            "messages": {
                f"{channel.content.name}-{form}": _message(channel.content, form)
                for channel in CHANNELS.values()
                for form in channel.forms
            },
            "schemas": schemas,
        },
    }


def _id(kind: Kind | Down) -> str:
    """The name of a channel in the document."""
    return kind.value.replace("/", "-")


def _action(kind: Kind | Down) -> str:
    return "receive" if isinstance(kind, Kind) else "send"


def _channel(kind: Kind | Down, channel: Channel) -> dict[str, Any]:
    return {
        "address": topic("{device}", kind),
        "description": channel.description,
        "parameters": {"device": {"description": DEVICE, "examples": ["br-101"]}},
        "messages": {form: {"$ref": f"#/components/messages/{channel.content.name}-{form}"} for form in channel.forms},
    }


def _operation(kind: Kind | Down, channel: Channel) -> dict[str, Any]:
    return {
        "action": _action(kind),
        "channel": {"$ref": f"#/channels/{_id(kind)}"},
        "messages": [{"$ref": f"#/channels/{_id(kind)}/messages/{form}"} for form in channel.forms],
        "bindings": {"mqtt": {"qos": 1, "retain": channel.retain, "bindingVersion": "0.2.0"}},
    }


def _message(content: Content, form: str) -> dict[str, Any]:
    return {
        "name": _type_name(content),
        "title": content.title,
        "contentType": FORMATS[form],
        "payload": {"$ref": f"#/components/schemas/{_type_name(content)}"},
        "examples": [{"name": example.name, "payload": example.payload} for example in content.examples],
    }


def _type_name(content: Content) -> str:
    return getattr(content.type, "__name__", "") if isinstance(content.type, type) else content.name.capitalize()


def text() -> str:
    """The document as it is committed."""
    return json.dumps(document(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(text())
