"""Decodes requests of the enrollment topics. Pure."""

from __future__ import annotations

import re

import msgspec

from gateway.errors import GatewayError
from schema.enrollment import MAX_HELLO, MAX_REQUEST, REQUESTS, Hello, Proof, Request, unb64
from schema.topics import is_device_name
from schema.unique_keys import RepeatedKey, check_json

TXN = re.compile(r"[0-9a-f]{32}")

_decoder = msgspec.json.Decoder(Request)


class UnreadableRequest(GatewayError):
    """A request is malformed, oversized or retained, as `reason` says."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def txn_of(topic: str) -> str | None:
    """The transaction number in a topic; None if it has none, so that no reply is possible."""
    txn = topic.removeprefix(REQUESTS)
    return txn if topic.startswith(REQUESTS) and TXN.fullmatch(txn) else None


def read(txn: str | None, payload: bytes, *, retained: bool) -> Hello | Proof:
    """Decode the request that came on the topic of `txn`. Raises UnreadableRequest."""
    if retained:
        raise UnreadableRequest("retained")
    if len(payload) > MAX_REQUEST:
        raise UnreadableRequest("oversized")
    try:
        request: Hello | Proof = _decoder.decode(payload)
        check_json(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, RepeatedKey) as error:
        raise UnreadableRequest("malformed") from error
    if isinstance(request, Hello) and len(payload) > MAX_HELLO:
        raise UnreadableRequest("oversized")
    # checked again, as `$` in the schema's patterns allows for a line feed
    if request.txn != txn or (isinstance(request, Hello) and not is_device_name(request.serial)):
        raise UnreadableRequest("malformed")
    return request


def hello_of(proof: Proof) -> tuple[bytes, Hello]:
    """The HELLO that a proof brings back: the payload and its content. Raises UnreadableRequest."""
    try:
        payload = unb64(proof.hello)
    except ValueError as error:
        raise UnreadableRequest("malformed") from error
    hello = read(proof.txn, payload, retained=False)
    if not isinstance(hello, Hello):
        raise UnreadableRequest("malformed")
    return payload, hello
