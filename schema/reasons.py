"""Why a message or a frame is in quarantine: a closed list, the same as the check on `quarantine.reason`."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    MALFORMED_PACKET = "malformed-packet"
    """The MQTT packet itself cannot be read (bad UTF-8 in a string, bad properties)."""
    UNKNOWN_TOPIC = "unknown-topic"
    """A topic the contract does not have."""
    UNKNOWN_DEVICE = "unknown-device"
    """No device of that name is registered."""
    EMPTY = "empty"
    """No bytes, no channels, or a block without frames."""
    MALFORMED = "malformed"
    """Neither MessagePack nor JSON."""
    WRONG_TYPE = "wrong-type"
    """A field is missing, has another type, or a number is out of its range."""
    WRONG_SHAPE = "wrong-shape"
    """The fields do not fit together: a row of another length than `ch`, frame and block mixed."""
    BAD_CHANNEL = "bad-channel"
    """A channel name that is empty, over 64 characters, has control characters, or stands twice in a block."""
    TOO_MANY_CHANNELS = "too-many-channels"
    """More channels in a frame, or of one device, than allowed."""
    TOO_MANY_LAYOUTS = "too-many-layouts"
    """More sets of channels of one device than allowed."""
    TOO_OLD = "too-old"
    """A time before the oldest accepted."""
    TOO_NEW = "too-new"
    """A time too far in the future."""
    TOO_LARGE = "too-large"
    """More data in an event than allowed."""
    CONFLICT = "conflict"
    """The same device, time and channels are stored with other content; the first stays."""
    REFUSED = "refused"
    """The database refused it, alone, while it worked."""
