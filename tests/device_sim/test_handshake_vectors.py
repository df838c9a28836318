"""The worked examples of the contract, by the device's own implementation of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)

from device_sim.handshake import ControllerSecrets, DeviceHandshake, Granted, Ignored, Proved, keys, receive, transcript
from schema.enrollment import Identity, Proof, fingerprint, unb64

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[2] / "docs" / "enrollment-vectors.json").read_text())
EXAMPLES = VECTORS["examples"]


def controller(example: dict[str, Any]) -> ControllerSecrets:
    psk, identity = bytes.fromhex(example["psk"]), bytes.fromhex(example["identity_private"])
    return ControllerSecrets(example["serial"], example["claim"], psk, identity)


def handshake(example: dict[str, Any]) -> DeviceHandshake:
    key = b""
    if der := example.get("certificate_key_private_pkcs8"):
        private = load_der_private_key(bytes.fromhex(der), None)
        key = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    ephemeral = bytes.fromhex(example["device_ephemeral_private"])
    return DeviceHandshake(example["txn"], ephemeral, example["hello_text"].encode(), key=key)


def proved(example: dict[str, Any]) -> DeviceHandshake:
    """With the proof of the example, which may have been written with other spaces than ours."""
    body, proof = example["body_text"].encode(), example["proof_text"].encode()
    return msgspec.structs.replace(handshake(example), body=body, proof=proof)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example["name"])
def test_keys_and_transcripts_are_those_of_the_examples(example: dict[str, Any]) -> None:
    hello, body, proof = (example[f"{name}_text"].encode() for name in ("hello", "body", "proof"))
    theirs = bytes.fromhex(example["gateway_ephemeral_public"])
    th2 = transcript(hello, body)
    derived = keys(bytes.fromhex(example["device_ephemeral_private"]), theirs, bytes.fromhex(example["psk"]), th2)
    assert [key.hex() for key in (derived.th2, derived.device, derived.gateway, derived.seal)] == [
        example[name] for name in ("th2", "k_d", "k_g", "k_s")
    ]
    assert transcript(hello, body, proof).hex() == example["th3"]
    assert fingerprint(bytes.fromhex(example["identity_public"])) == example["fingerprint"]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example["name"])
def test_the_challenge_is_believed_and_the_proof_is_the_same(example: dict[str, Any]) -> None:
    outcome = receive(handshake(example), controller(example), None, example["challenge_text"].encode())
    assert isinstance(outcome, Proved)
    ours = msgspec.json.decode(outcome.handshake.proof, type=Proof)
    if "csr" in example:
        assert ours.csr  # signed with a random number: another each time, and with it the proof
    else:
        assert (unb64(ours.mac).hex(), unb64(ours.sig).hex()) == (example["proof_mac"], example["proof_sig"])


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example["name"])
def test_the_grant_is_opened(example: dict[str, Any]) -> None:
    outcome = receive(proved(example), controller(example), None, example["grant_text"].encode())
    assert isinstance(outcome, Granted)
    assert outcome.login == msgspec.json.decode(example["plaintext_text"], type=Identity)
    assert outcome.gateway.hex() == example["gateway_public"]


@pytest.mark.parametrize("case", VECTORS["refuse"], ids=lambda case: f"{case['at']}: {case['why']}")
def test_what_must_be_refused_is_ignored(case: dict[str, Any]) -> None:
    example = EXAMPLES[0]
    state = handshake(example) if case["at"] == "challenge" else proved(example)
    kept = bytes.fromhex(case["kept_gateway"]) if "kept_gateway" in case else None
    with pytest.raises(Ignored):
        receive(state, controller(example), kept, case["reply_text"].encode())
