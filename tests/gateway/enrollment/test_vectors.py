"""The published examples are current, and the gateway comes to the same values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_der_private_key

from gateway.enrollment import handshake
from gateway.enrollment.handshake import HandshakeKeys
from gateway.enrollment.requests import read
from gateway.secrets import claim_key
from schema.enrollment import MAX_REPLY, Challenge, Hello, Identity, Proof, fingerprint, unb64
from tests.enrollment_vectors import document, text

COMMITTED = Path(__file__).parents[3] / "docs" / "enrollment-vectors.json"
EXAMPLES = [pytest.param(example, id=example["name"]) for example in document()["examples"]]


def raw(example: dict[str, Any], name: str) -> bytes:
    return bytes.fromhex(example[name])


def request(example: dict[str, Any], name: str) -> Hello | Proof:
    return read(example["txn"], example[f"{name}_text"].encode(), retained=False)


def keys(example: dict[str, Any]) -> HandshakeKeys:
    return HandshakeKeys(raw(example, "k_d"), raw(example, "k_g"), raw(example, "k_s"))


def test_the_committed_document_is_current() -> None:
    assert COMMITTED.read_text() == text(), "run: python -m tests.enrollment_vectors > docs/enrollment-vectors.json"


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_challenge_is_the_gateways(example: dict[str, Any]) -> None:
    hello = request(example, "hello")
    assert isinstance(hello, Hello)
    assert fingerprint(unb64(hello.identity)) == example["fingerprint"]
    if example["claim"]:
        assert claim_key(raw(example, "master"), example["serial"]) == raw(example, "psk")
    body = json.loads(example["body_text"])
    signer = Ed25519PrivateKey.from_private_bytes(raw(example, "gateway_private"))
    ephemeral = X25519PrivateKey.from_private_bytes(raw(example, "gateway_ephemeral_private"))
    made = handshake.challenge_body(unb64(body["nonce"]), ephemeral, signer, body["expires_s"])
    psk = raw(example, "psk")
    asked = handshake.answer(example["hello_text"].encode(), hello, made, psk, signer, ephemeral=ephemeral)
    assert json.loads(asked.reply) == json.loads(example["challenge_text"])
    assert handshake.body_of(asked.reply) == example["body_text"].encode()
    assert (asked.transcript, asked.keys) == (raw(example, "th2"), keys(example))
    ours = X25519PrivateKey.from_private_bytes(raw(example, "gateway_ephemeral_private"))
    assert handshake.shared_secret(ours, raw(example, "device_ephemeral_public")) == raw(example, "shared")
    challenge = msgspec.json.decode(asked.reply, type=Challenge)
    assert (unb64(challenge.mac), unb64(challenge.sig)) == (
        raw(example, "challenge_mac"),
        raw(example, "challenge_sig"),
    )


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_proof_is_accepted_and_answered_by_the_grant(example: dict[str, Any]) -> None:
    proof = request(example, "proof")
    assert isinstance(proof, Proof)
    assert handshake.is_proof(proof, raw(example, "identity_public"), keys(example), raw(example, "th2"))
    parts = (example[f"{name}_text"].encode() for name in ("hello", "body", "proof"))
    th3 = handshake.transcript(*parts)
    assert th3 == raw(example, "th3")
    identity = msgspec.json.decode(example["plaintext_text"], type=Identity)
    grant = handshake.grant(example["txn"], identity, keys(example), th3, raw(example, "box_nonce"))
    assert json.loads(grant) == json.loads(example["grant_text"])
    assert len(grant) < MAX_REPLY


def test_the_certificate_request_is_accepted() -> None:
    [example] = (example for example in document()["examples"] if "csr" in example)
    key = handshake.certificate_key(raw(example, "csr"))
    private = load_der_private_key(raw(example, "certificate_key_private_pkcs8"), None)
    assert isinstance(key, EllipticCurvePublicKey)
    assert private.public_key() == key
