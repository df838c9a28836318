"""Decodes bytes into typed messages. Pure: any bytes give a message or raise Rejected."""

from __future__ import annotations

import math
import re
from functools import partial
from typing import Any, TypeAlias, TypeVar

import msgspec

from gateway.errors import Rejected
from schema.messages import (
    CONTENT_JSON,
    CONTENT_MSGPACK,
    MOST_SEQ,
    BackfillResult,
    Boot,
    CommandResult,
    Event,
    Seq,
    Status,
    Telemetry,
)
from schema.reasons import Reason
from schema.unique_keys import RepeatedKey, check_json, check_msgpack, map_header

Decoded = TypeVar("Decoded")

MSGPACK_CONTENT = {CONTENT_MSGPACK, "application/x-msgpack", "application/vnd.msgpack"}
BOM = b"\xef\xbb\xbf"

TOKEN = re.compile(
    rb"""(?P<text>"(?:[^"\\]|\\.)*+"?)
       | (?P<word>(?i:[+-]?(?:nan|inf(?:inity)?)))\b
       | (?P<number>-?\d++(?:\.\d++)?+(?:[eE][+-]?\d++)?+)""",
    re.VERBOSE | re.DOTALL,
)
"""Finds what JSON lacks, NaN and infinity as Python, JavaScript and C write them, and the numbers that no float can be.
Each alternative takes all that it can and gives nothing back: a search is linear, whatever the bytes are."""


class FrameNumbers(msgspec.Struct):
    """The fields of a telemetry message that identify its frames, even if all other fields are wrong."""

    boot: Boot
    seq: Seq
    t: Any = None


class LooseTelemetry(msgspec.Struct):
    """A telemetry message whose times, values and qualities may be anything."""

    t: Any
    v: Any
    boot: Boot | None = None
    seq: Seq | None = None
    q: Any = None
    ch: list[str] | None = None


MOST_SEEN = 256
"""The most channels of a frame in MessagePack whose names are counted at a glance."""
V_OF_SIZE, Q_OF_SIZE = ([b"\xa1" + name + map_header(size) for size in range(MOST_SEEN + 1)] for name in (b"v", b"q"))
"""The key, and the header of a map of so many entries, in MessagePack."""

Decoders: TypeAlias = tuple[msgspec.msgpack.Decoder[Decoded], msgspec.json.Decoder[Decoded]]


def _decode(decoders: Decoders[Decoded], payload: bytes, content_type: str | None) -> Decoded:
    if not payload:
        raise Rejected(Reason.EMPTY, "the message has no bytes")
    json = is_json(payload, content_type)
    try:
        return _json(decoders[1], payload.removeprefix(BOM)) if json else decoders[0].decode(payload)
    except msgspec.ValidationError as error:
        raise Rejected(Reason.WRONG_TYPE, str(error)) from error
    except Exception as error:  # UnicodeDecodeError and RecursionError too: the message itself is at fault
        form = "JSON" if json else "MessagePack"
        raise Rejected(Reason.MALFORMED, f"not {form}: {error}") from error


def _json(decoder: msgspec.json.Decoder[Decoded], payload: bytes) -> Decoded:
    """Decode JSON. NaN, infinity and what no float can be are null, as MessagePack's NaN is in the database."""
    try:
        return decoder.decode(payload)
    except msgspec.DecodeError:
        readable = finite(payload)
        if readable == payload:
            raise
        message = decoder.decode(readable)
        decoder.decode(TOKEN.sub(_fraction_if_not_finite, payload))  # fails where an integer is wanted: no null there
        return message


def finite(json: bytes) -> bytes:
    """The JSON text with null for every number that no float can be."""
    return TOKEN.sub(_null_if_not_finite, json)


def _not_finite(token: re.Match[bytes]) -> bool:
    return token["word"] is not None or (token["number"] is not None and math.isinf(float(token["number"])))


def _null_if_not_finite(token: re.Match[bytes]) -> bytes:
    return b"null" if _not_finite(token) else token[0]


def _fraction_if_not_finite(token: re.Match[bytes]) -> bytes:
    return b"0.5" if _not_finite(token) else token[0]


def _decoders(kind: type[Decoded]) -> Decoders[Decoded]:
    return msgspec.msgpack.Decoder(kind), msgspec.json.Decoder(kind)


_telemetry, _loose, _numbers = _decoders(Telemetry), _decoders(LooseTelemetry), _decoders(FrameNumbers)


def _unique(decoders: Decoders[Decoded], payload: bytes, content_type: str | None) -> Decoded:
    """Decode a message, and refuse one in which a key stands twice."""
    message = _decode(decoders, payload, content_type)
    if (key := _repeated_key(payload, content_type)) is not None:
        raise Rejected(Reason.WRONG_SHAPE, f"the key {key!r} stands twice")
    return message


status = partial(_unique, _decoders(Status))
event = partial(_unique, _decoders(Event))
backfill_result = partial(_unique, _decoders(BackfillResult))
command_result = partial(_unique, _decoders(CommandResult))


def telemetry(payload: bytes, content_type: str | None) -> Telemetry:
    try:  # nearly all messages, without detours
        json = is_json(payload, content_type)
        message = _telemetry[json].decode(payload)
    except Exception:  # decode again, for the reason
        json, message = is_json(payload, content_type) if payload else False, _decode(_telemetry, payload, content_type)
    if not _has_each_key_once(message, payload, json):
        _check_channels(payload, content_type)
    return message


def _has_each_key_once(message: Telemetry, payload: bytes, json: bool) -> bool:
    """Whether it is seen at a glance, by the number of quotes or the headers of maps, that no key stands twice."""
    v, q, ch = message.v, message.q, message.ch
    fields = 2 + (message.boot is not None) + (message.seq is not None) + (q is not None) + (ch is not None)
    if json:
        texts = fields + (len(v) if ch is None else len(ch)) + (len(q) if q.__class__ is dict else 0)
        return payload.count(b'"') == 2 * texts
    return (
        payload[0] == 0x80 | fields
        and (v.__class__ is list or V_OF_SIZE[min(len(v), MOST_SEEN)] in payload)
        and (q is None or q.__class__ is list or Q_OF_SIZE[min(len(q), MOST_SEEN)] in payload)
    )


def _check_channels(payload: bytes, content_type: str | None) -> None:
    """Raise Rejected if a telemetry message has a key twice, as for a channel that a block names twice."""
    key = _repeated_key(payload, content_type)
    if key in Telemetry.__struct_fields__:
        raise Rejected(Reason.WRONG_SHAPE, f"the key {key!r} stands twice")
    if key is not None:
        raise Rejected(Reason.BAD_CHANNEL, f"the channel {key!r} stands twice")


def _repeated_key(payload: bytes, content_type: str | None) -> str | None:
    """A key that stands twice in an object of the message; None if each stands once."""
    try:
        if is_json(payload, content_type):
            check_json(payload)
        else:
            check_msgpack(payload)
    except RepeatedKey as error:
        return error.key
    return None


def loose_telemetry(payload: bytes, content_type: str | None) -> LooseTelemetry:
    """Decode a message that is no Telemetry, because a time, value or quality has another type."""
    if is_json(payload, content_type):
        payload = finite(payload)
    message = _decode(_loose, payload, content_type)
    _check_channels(payload, content_type)
    return message


def numbers(payload: bytes, content_type: str | None) -> tuple[int, int, int] | None:
    """Boot, first and last seq of a telemetry message that may be wrong otherwise; None if it does not have them."""
    try:
        found = _decode(_numbers, payload, content_type)
    except Rejected:
        return None
    frames = max(1, len(found.t)) if isinstance(found.t, list) else 1
    return found.boot, found.seq, min(found.seq + frames - 1, MOST_SEQ)


def is_json(payload: bytes, content_type: str | None) -> bool:
    """Whether a payload is JSON: by its content type, else by its first byte (0x80 or more begins MessagePack maps)."""
    if content_type is not None:
        media = content_type.partition(";")[0].strip().lower()
        if media in MSGPACK_CONTENT:
            return False
        if media == CONTENT_JSON:
            return True
    return payload[0] < 0x80 or payload.startswith(BOM)
