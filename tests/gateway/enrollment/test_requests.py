"""What comes on the request topics: whatever the bytes, it is read or refused."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.enrollment.requests import UnreadableRequest, hello_of, read, txn_of
from schema.enrollment import MAX_HELLO, MAX_REQUEST, Hello, Proof, b64, request_topic

TXN = "0123456789abcdef" * 2
KEY = b64(bytes(32))
HELLO: dict[str, Any] = {
    "v": 1, "type": "hello", "txn": TXN, "t": 1.5, "serial": "S-1", "identity": KEY, "ephemeral": KEY,
}  # fmt: skip
PROOF: dict[str, Any] = {
    **{"v": 1, "type": "proof", "txn": TXN, "sig": b64(bytes(64)), "mac": KEY},
    **{"hello": b64(json.dumps(HELLO).encode()), "body": "e30"},
}


def reason(payload: bytes, txn: str | None = TXN, *, retained: bool = False) -> str:
    with pytest.raises(UnreadableRequest) as refused:
        read(txn, payload, retained=retained)
    return refused.value.reason


def test_requests_are_read_and_unknown_members_ignored() -> None:
    hello = read(TXN, json.dumps(HELLO | {"colour": {"a": [1]}}).encode(), retained=False)
    assert isinstance(hello, Hello)
    assert (hello.serial, hello.claim, hello.channels) == ("S-1", 1, [])
    assert isinstance(read(TXN, json.dumps(PROOF).encode(), retained=False), Proof)


@pytest.mark.parametrize(
    "changes",
    [
        {"v": 2},
        {"v": "1"},
        {"type": "grant"},
        {"type": None},
        {"txn": TXN.upper()},
        {"txn": "f" * 32},
        {"txn": TXN + "\n"},
        {"serial": ""},
        {"serial": "S-1\n"},
        {"serial": "S/1"},
        {"serial": "x" * 65},
        {"identity": KEY[:-1]},
        {"identity": KEY + "="},
        {"identity": "+" * 43},
        {"ephemeral": None},
        {"claim": -1},
        {"claim": 40000},
        {"claim": True},
        {"channels": ["x" * 65]},
        {"channels": [str(n) for n in range(65)]},
        {"described": {"ph": {"low": 1}}},
        {"described": {"ph": {"low": 2, "high": 1}}},
        {"described": {"ph": {"kind": "pv"}}},
        {"described": {"ph": {"unit": "x" * 21}}},
        {"described": {"ph": {"title": "a\u202eb"}}},
        {"described": {" ph": {}}},
        {"hardware": 7},
        {"t": "now"},
    ],
)
def test_a_hello_that_is_not_as_specified_is_malformed(changes: dict[str, Any]) -> None:
    assert reason(json.dumps(HELLO | changes).encode()) == "malformed"


@pytest.mark.parametrize(
    "payload",
    [b"", b"null", b"[]", b"{}", b"\xff\xfe", b'{"serial":"\xff"}', b"[" * 2000, b'{"a":' * 400, b'{"t":1e999}']
    + [json.dumps(HELLO).encode().replace(b'{"v"', b'{"serial": "S-2", "v"')]
    + [json.dumps(HELLO).encode().replace(b'"S-1"', serial) for serial in (b'"\\ud800"', b'"\\u0000"', b'"\xc3\x28"')],
)
def test_bytes_that_are_no_request_are_malformed(payload: bytes) -> None:
    assert reason(payload) == "malformed"


def test_what_is_too_large_or_retained_is_not_even_read() -> None:
    whole = json.dumps(HELLO).encode()
    fitting = whole[:-1] + b" " * (MAX_HELLO - len(whole)) + b"}"
    assert isinstance(read(TXN, fitting, retained=False), Hello)
    assert reason(fitting + b" ") == "oversized"
    proof = json.dumps(PROOF | {"hello": b64(fitting), "csr": "A" * 1400, "body": "A" * 1024}).encode()
    assert isinstance(read(TXN, proof, retained=False), Proof)
    assert reason(proof + b" " * (MAX_REQUEST + 1 - len(proof))) == "oversized"
    assert reason(whole, retained=True) == "retained"


@pytest.mark.parametrize(
    "hello",
    [
        *("", "A", "!", "e30", b64(b"{}"), b64(b"[" * 2000), b64(json.dumps(PROOF).encode())),
        b64(json.dumps(HELLO | {"txn": "f" * 32}).encode()),
        b64(json.dumps(HELLO | {"serial": "S/1"}).encode()),
    ],
)
def test_a_proof_brings_back_a_hello_of_its_own_transaction(hello: str) -> None:
    proof = read(TXN, json.dumps(PROOF).encode(), retained=False)
    assert isinstance(proof, Proof)
    payload, said = hello_of(proof)
    assert (payload, said.serial) == (json.dumps(HELLO).encode(), "S-1")
    with pytest.raises(UnreadableRequest):
        hello_of(msgspec.structs.replace(proof, hello=hello))


def test_a_request_on_the_topic_of_another_transaction_is_malformed() -> None:
    assert reason(json.dumps(HELLO).encode(), "f" * 32) == "malformed"
    assert reason(json.dumps(HELLO).encode(), None) == "malformed"


@pytest.mark.parametrize("txn", ["", TXN[:-1], TXN + "0", TXN.upper(), "+", "#", TXN[:-1] + "\n", "g" * 32])
def test_a_topic_has_a_transaction_number_or_nobody_to_reply_to(txn: str) -> None:
    assert txn_of(request_topic(TXN)) == TXN
    assert txn_of(request_topic(txn)) is None
    assert txn_of(f"enroll/v1/res/{TXN}") is None


@given(st.binary(max_size=MAX_REQUEST + 10))
def test_any_bytes_are_read_or_refused(payload: bytes) -> None:
    assert reason(payload) in {"malformed", "oversized"}


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from([HELLO, PROOF]), st.dictionaries(st.sampled_from(sorted({*HELLO, *PROOF, "claim"})), VALUES))
def test_any_members_are_read_or_refused(whole: dict[str, Any], changes: dict[str, Any]) -> None:
    try:
        read(TXN, json.dumps(whole | changes).encode(), retained=False)
    except UnreadableRequest as refused:
        assert refused.reason in {"malformed", "oversized"}  # noqa: PT017
