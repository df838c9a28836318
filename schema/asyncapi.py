"""Writes the MQTT contract as an AsyncAPI 3.0 document, from the topics and message types: `python -m schema.asyncapi`.

docs/asyncapi.json is its output, which a test compares. "Receive" is meant from the gateway's side: a device publishes.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Mapping
from typing import Any

import msgspec

from schema.contents import ALARM, CHANNELS, DOORS, SEALED, TXN, Content, Door, MqttChannel
from schema.messages import CONTENT_JSON, CONTENT_MSGPACK, Receipt
from schema.topics import DEVICE_NAME, Down, Kind, alarm_topic, topic

VERSION = "1.0.0"
DESCRIPTION = """\
What a bioreactor's controller publishes and receives. Publish with QoS 1 and without a message expiry. The content is
MessagePack or JSON, as the MQTT 5 property Content Type says; without it, the first byte decides. Unknown fields are
ignored. Times are milliseconds since the Unix epoch, UTC; a fraction is kept to the microsecond. The broker's
acknowledgement (PUBACK) says that the broker has a message, not that it is stored; with reason 0x10, no matching
subscribers, no process has it. Only a receipt says that a frame is stored. Delivering a message again does no harm.
How a controller gets its login, and what the bytes in the channels `enroll-…` mean: enrollment.md beside this document.
"""
PARAMETERS = {
    "device": {
        "description": f"name under which the device is registered, `{DEVICE_NAME.pattern}`",
        "examples": ["br-101"],
    },
    "rule": {"description": "name of the alarm rule", "examples": ["temperature-high"]},
}
PLAIN_PORT = 1883
DEVICE_SERVERS = ("devices", "certificates", "loopback")
FORMATS = {"json": CONTENT_JSON, "msgpack": CONTENT_MSGPACK}


def document() -> dict[str, Any]:
    """The whole document as JSON values."""
    channels = {_id(kind): (topic("{device}", kind), channel) for kind, channel in CHANNELS.items()}
    channels["alarm"] = alarm_topic("{device}", "{rule}"), ALARM
    contents = {channel.content.name: channel.content for _, channel in channels.values()}
    contents |= {content.name: content for door in DOORS.values() for content in door.contents}
    _, schemas = msgspec.json.schema_components(
        [*(content.type for content in contents.values() if isinstance(content.type, type)), *SEALED],
        ref_template="#/components/schemas/{name}",
    )
    for schema in schemas.values():  # Python before 3.13 keeps the docstrings' indentation
        schema["description"] = inspect.cleandoc(schema["description"])
    schemas["Receipt"] = msgspec.json.schema(Receipt)
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Biogate: from bioreactor to database", "version": VERSION, "description": DESCRIPTION},
        "defaultContentType": CONTENT_MSGPACK,
        "servers": {
            "devices": _server(8883, "userPassword", "for devices, with the login of their grant; it says the address"),
            "enrollment": _server(8884, "userPassword", "for controllers that have no login yet, as `enroll`"),
            "certificates": _server(8885, "X509", "for devices whose grant has a certificate; it says the address"),
            "loopback": _server(1883, "userPassword", "without TLS, on the broker's own machine alone"),
        },
        "channels": {name: _channel(address, channel) for name, (address, channel) in channels.items()}
        | {name: _door(door) for name, door in DOORS.items()},
        "operations": _operations({name: channel for name, (_, channel) in channels.items()}),
        "components": {
            "messages": {
                f"{channel.content.name}-{form}": _message(channel.content, form)
                for _, channel in channels.values()
                for form in channel.forms
            }
            | {content.name: _message(content, "json") for door in DOORS.values() for content in door.contents},
            "schemas": schemas,
            "securitySchemes": {name: {"type": name} for name in ("userPassword", "X509")},
        },
    }


def _server(port: int, security: str, description: str) -> dict[str, Any]:
    """A listener of the broker."""
    return {
        "host": f"{{broker}}:{port}",
        "protocol": "mqtt" if port == PLAIN_PORT else "secure-mqtt",
        "protocolVersion": "5.0",
        "description": description,
        "variables": {"broker": {"default": "localhost", "description": "host"}},
        "security": [{"$ref": f"#/components/securitySchemes/{security}"}],
    }


def _id(kind: Kind | Down) -> str:
    """The id of a topic's channel in the document."""
    return kind.value.replace("/", "-")


def _channel(address: str, channel: MqttChannel) -> dict[str, Any]:
    return {
        "address": address,
        "description": channel.description,
        "servers": [{"$ref": f"#/servers/{name}"} for name in DEVICE_SERVERS],
        "parameters": {name: PARAMETERS[name] for name in PARAMETERS if f"{{{name}}}" in address},
        "messages": {form: {"$ref": f"#/components/messages/{channel.content.name}-{form}"} for form in channel.forms},
    }


def _door(door: Door) -> dict[str, Any]:
    return {
        "address": door.address,
        "description": door.description,
        "servers": [{"$ref": "#/servers/enrollment"}],
        "parameters": {"txn": {"description": "128 random bits as 32 small hexadecimal digits", "examples": [TXN]}},
        "messages": {content.name: {"$ref": f"#/components/messages/{content.name}"} for content in door.contents},
    }


def _operations(channels: Mapping[str, MqttChannel]) -> dict[str, Any]:
    """The operations by id: `receive-…` for what a device publishes, `send-…` for what it receives."""
    received = {*map(_id, Kind), *(name for name, door in DOORS.items() if door.from_device)}
    messages = {name: (channel.forms, channel.retain) for name, channel in channels.items()}
    messages |= {name: (tuple(content.name for content in door.contents), False) for name, door in DOORS.items()}
    operations = {}
    for name, (forms, retain) in messages.items():
        action = "receive" if name in received else "send"
        operations[f"{action}-{name}"] = {
            "action": action,
            "channel": {"$ref": f"#/channels/{name}"},
            "messages": [{"$ref": f"#/channels/{name}/messages/{form}"} for form in forms],
            "bindings": {"mqtt": {"qos": 1, "retain": retain, "bindingVersion": "0.2.0"}},
        }
    return operations


def _message(content: Content, form: str) -> dict[str, Any]:
    return {
        "name": _type_name(content),
        "title": content.title,
        "contentType": FORMATS[form],
        "payload": {"$ref": f"#/components/schemas/{_type_name(content)}"},
        "examples": [{"name": name, "payload": payload} for name, payload in content.examples.items()],
    }


def _type_name(content: Content) -> str:
    return getattr(content.type, "__name__", "") if isinstance(content.type, type) else content.name.capitalize()


def text() -> str:
    """The document's text, as docs/asyncapi.json has it."""
    return json.dumps(document(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(text())
