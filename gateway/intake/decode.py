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
    BackfillResult,
    Boot,
    CommandResult,
    Event,
    Seq,
    Status,
    Telemetry,
)
from schema.reasons import Reason

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
status = partial(_decode, _decoders(Status))
event = partial(_decode, _decoders(Event))
backfill_result = partial(_decode, _decoders(BackfillResult))
command_result = partial(_decode, _decoders(CommandResult))


def telemetry(payload: bytes, content_type: str | None) -> Telemetry:
    if content_type is None and payload and payload[0] < BOM[0]:  # nearly all messages, without detours
        try:
            return _telemetry[payload[0] < 0x80].decode(payload)
        except Exception:  # decode again, for the reason
            return _decode(_telemetry, payload, content_type)
    return _decode(_telemetry, payload, content_type)


def loose_telemetry(payload: bytes, content_type: str | None) -> LooseTelemetry:
    """Decode a message that is no Telemetry, because a time, value or quality has another type."""
    if is_json(payload, content_type):
        payload = finite(payload)
    return _decode(_loose, payload, content_type)


def numbers(payload: bytes, content_type: str | None) -> tuple[int, int, int] | None:
    """Boot, first and last seq of a telemetry message that may be wrong otherwise; None if it does not have them."""
    try:
        found = _decode(_numbers, payload, content_type)
    except Rejected:
        return None
    frames = max(1, len(found.t)) if isinstance(found.t, list) else 1
    return found.boot, found.seq, found.seq + frames - 1


def is_json(payload: bytes, content_type: str | None) -> bool:
    """Whether a payload is JSON: by its content type, else by its first byte (0x80 or more begins MessagePack maps)."""
    if content_type is not None:
        media = content_type.partition(";")[0].strip().lower()
        if media in MSGPACK_CONTENT:
            return False
        if media == CONTENT_JSON:
            return True
    return payload[0] < 0x80 or payload.startswith(BOM)
