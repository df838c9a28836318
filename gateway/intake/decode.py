"""Decodes bytes into typed messages. Pure: any bytes give a message or raise Rejected."""

from __future__ import annotations

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


class FrameNumbers(msgspec.Struct):
    """The fields of a telemetry message that identify its frames, even if all other fields are wrong."""

    boot: Boot
    seq: Seq
    t: Any = None


Decoders: TypeAlias = tuple[msgspec.msgpack.Decoder[Decoded], msgspec.json.Decoder[Decoded]]


def _decode(decoders: Decoders[Decoded], payload: bytes, content_type: str | None) -> Decoded:
    if not payload:
        raise Rejected(Reason.EMPTY, "the message has no bytes")
    json = is_json(payload, content_type)
    try:
        if json:
            return decoders[1].decode(payload.removeprefix(BOM))
        return decoders[0].decode(payload)
    except msgspec.ValidationError as error:
        raise Rejected(Reason.WRONG_TYPE, str(error)) from error
    except Exception as error:  # UnicodeDecodeError and RecursionError too: the message itself is at fault
        form = "JSON" if json else "MessagePack"
        raise Rejected(Reason.MALFORMED, f"not {form}: {error}") from error


def _decoders(kind: type[Decoded]) -> Decoders[Decoded]:
    return msgspec.msgpack.Decoder(kind), msgspec.json.Decoder(kind)


_telemetry, _numbers = _decoders(Telemetry), _decoders(FrameNumbers)
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
