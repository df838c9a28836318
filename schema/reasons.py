"""Why a message or a frame is in quarantine: a closed list, equal to the check on `quarantine.reason`."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    MALFORMED_PACKET = "malformed-packet"
    """The MQTT packet itself cannot be read (bad UTF-8 in a string, bad properties)."""
    UNKNOWN_TOPIC = "unknown-topic"
    """The contract has no such topic."""
    UNKNOWN_DEVICE = "unknown-device"
    """No device of that name is registered."""
    EMPTY = "empty"
    """The message has no bytes or no channels, or is a block without frames."""
    MALFORMED = "malformed"
    """The payload is neither MessagePack nor JSON."""
    WRONG_TYPE = "wrong-type"
    """A field is missing, has another type, or a number is out of its range."""
    WRONG_SHAPE = "wrong-shape"
    """The fields do not fit together: a row and `ch` differ in length, a frame and a block are mixed, or a key stands
    twice."""
    BAD_CHANNEL = "bad-channel"
    """A channel name is empty, exceeds 64 characters, has characters that cannot be seen or blanks at its ends, is not
    in Unicode's form NFC, or occurs twice."""
    TOO_MANY_CHANNELS = "too-many-channels"
    """The frame, or the device over its life, has more channels than allowed."""
    TOO_MANY_LAYOUTS = "too-many-layouts"
    """The device uses more sets of channels than allowed."""
    TOO_OLD = "too-old"
    """The time is older than the gateway accepts."""
    TOO_NEW = "too-new"
    """The time is too far in the future."""
    TOO_LARGE = "too-large"
    """The event has more data than allowed."""
    CONFLICT = "conflict"
    """An item of the same device, time and channels, or of the same command, is stored with other content; it stays."""
    UNKNOWN_COMMAND = "unknown-command"
    """The result names a command that was never given, or was given to another device."""
    REFUSED = "refused"
    """The database refused this message alone, while it stored others."""
