"""What comes on the request topics, made sense of. Pure."""

from __future__ import annotations

import re

import msgspec

from gateway.errors import GatewayError
from schema.enrollment import MAX_REQUEST, REQUESTS, Hello, Proof, Request
from schema.topics import is_device_name

TXN = re.compile(r"[0-9a-f]{32}")

_decoder = msgspec.json.Decoder(Request)


class Unreadable(GatewayError):
    """It is refused for what it is: `reason` malformed, oversized or retained."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def txn_of(topic: str) -> str | None:
    """The transaction number in a topic; None: it has none, and there is nowhere to reply to."""
    txn = topic.removeprefix(REQUESTS)
    return txn if topic.startswith(REQUESTS) and TXN.fullmatch(txn) else None


def read(txn: str | None, payload: bytes, *, retained: bool) -> Hello | Proof:
    """The request that came on the topic of `txn`. Raises Unreadable."""
    if retained:
        raise Unreadable("retained")
    if len(payload) > MAX_REQUEST:
        raise Unreadable("oversized")
    try:
        request: Hello | Proof = _decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unreadable("malformed") from error
    # once more, as `$` in a pattern allows for a line feed
    if request.txn != txn or (isinstance(request, Hello) and not is_device_name(request.serial)):
        raise Unreadable("malformed")
    return request
