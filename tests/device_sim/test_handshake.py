"""The device's half of the cryptography, and what it believes."""

from __future__ import annotations

import json
import secrets

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from device_sim.handshake import (
    ControllerSecrets,
    DeviceHandshake,
    Granted,
    Ignored,
    Over,
    Proved,
    Wait,
    begin,
    receive,
)
from device_sim.process.readings import CHANNELS
from device_sim.vessels import DESCRIBED
from schema.enrollment import MAX_HELLO, Hello, b64, unb64
from tests.device_sim.responder import PSK, Responder, identity, self_signed

CONTROLLER = ControllerSecrets("BR-1", 1, PSK, bytes(range(1, 33)))
TXN = "0123456789abcdef0123456789abcdef"


def start(**more: object) -> DeviceHandshake:
    return begin(CONTROLLER, TXN, secrets.token_bytes(32), 1_795_161_794_000, **more)  # type: ignore[arg-type]


def proved(handshake: DeviceHandshake, responder: Responder) -> DeviceHandshake:
    outcome = receive(handshake, CONTROLLER, None, responder.challenge(handshake.request))
    assert isinstance(outcome, Proved)
    return outcome.handshake


def test_a_handshake_ends_with_a_login_and_the_gateways_key() -> None:
    responder, handshake = Responder(), start()
    proof = proved(handshake, responder)
    assert proof.request != handshake.request
    outcome = receive(proof, CONTROLLER, None, responder.grant(proof.request))
    assert isinstance(outcome, Granted)
    assert outcome.login.username == "BR-1.1"
    assert outcome.gateway == responder.key.public_key().public_bytes_raw()


def test_hello_is_what_the_contract_says_and_fits() -> None:
    handshake = start(hardware="rev C", firmware="2", channels=CHANNELS, described=DESCRIBED)
    hello = msgspec.json.decode(handshake.hello, type=Hello)
    assert (hello.serial, hello.claim, hello.txn, hello.hardware) == ("BR-1", 1, TXN, "rev C")
    assert (hello.described["pressure_output"].unit, hello.described["pressure_output"].kind) == ("%", "output")
    assert len(handshake.hello) <= MAX_HELLO


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (2, {"unit": "%", "title": "a channel", "kind": "PV", "decimals": 2}),
        (35, {"unit": "%", "kind": "PV", "decimals": 2}),
        (40, {"unit": "%", "kind": "PV"}),
        (60, None),
    ],
)
def test_hello_says_of_many_channels_what_it_has_room_for(count: int, said: dict[str, object] | None) -> None:
    names = [f"c{number:02}" for number in range(count)]
    claim = {"unit": "%", "title": "a channel", "kind": "PV", "decimals": 2}
    standard = {"ph": {"unit": "pH", "decimals": 1}}
    described = {**dict.fromkeys(names, claim), **standard}
    hello = json.loads(start(channels=["ph", *names], described=described).hello)
    assert hello.get("described", {}).get("c00") == said
    assert ("ph" in hello.get("described", {})) == (said is not None and "decimals" in said)
    assert len(hello["channels"]) == count + 1


def test_a_challenge_of_somebody_without_the_claim_key_is_ignored() -> None:
    handshake = start()
    with pytest.raises(Ignored, match="does not know the claim key"):
        receive(handshake, CONTROLLER, None, Responder(psk=bytes(32)).challenge(handshake.request))


def test_a_challenge_with_another_signature_or_body_is_ignored() -> None:
    handshake, responder = start(), Responder()
    challenge = json.loads(responder.challenge(handshake.request))
    for change in (
        {"sig": b64(Ed25519PrivateKey.generate().sign(b"challenge" + responder.th2))},
        {"body": b64(responder.body + b" ")},
        {"body": "AAAA"},
        {"body": "%"},
        {"mac": b64(bytes(32))},
    ):
        with pytest.raises(Ignored):
            receive(handshake, CONTROLLER, None, json.dumps(challenge | change).encode())
    assert isinstance(receive(handshake, CONTROLLER, None, json.dumps(challenge).encode()), Proved)


def test_another_gateway_than_the_first_is_ignored() -> None:
    handshake, first = start(), Responder()
    kept = first.key.public_key().public_bytes_raw()
    with pytest.raises(Ignored, match="another gateway"):
        receive(handshake, CONTROLLER, kept, Responder().challenge(handshake.request))
    assert isinstance(receive(handshake, CONTROLLER, kept, first.challenge(handshake.request)), Proved)


def test_an_ephemeral_key_that_leads_to_zeros_is_ignored() -> None:
    handshake, responder = start(), Responder()
    challenge = json.loads(responder.challenge(handshake.request))
    body = json.loads(responder.body) | {"ephemeral": b64(bytes(32))}
    challenge["body"] = b64(json.dumps(body).encode())
    with pytest.raises(Ignored, match="body is wrong"):
        receive(handshake, CONTROLLER, None, json.dumps(challenge).encode())


def test_a_grant_for_another_handshake_is_ignored() -> None:
    responder = Responder()
    proof = proved(start(), responder)
    grant = responder.grant(proof.request)
    other = proved(start(), Responder(key=responder.key))
    with pytest.raises(Ignored, match="box"):
        receive(other, CONTROLLER, None, grant)
    assert isinstance(receive(proof, CONTROLLER, None, grant), Granted)


@pytest.mark.parametrize(
    "useless", [{"topic": "bioreactors/other"}, {"device": "a/b", "topic": "bioreactors/a/b"}, {"password": None}]
)
def test_a_grant_that_is_of_no_use_is_ignored(useless: dict[str, object]) -> None:
    responder = Responder(grants=lambda serial: identity(serial, **useless))
    proof = proved(start(), responder)
    with pytest.raises(Ignored, match="unusable"):
        receive(proof, CONTROLLER, None, responder.grant(proof.request))


def test_what_is_not_due_or_of_another_transaction_or_unreadable_is_ignored() -> None:
    responder, handshake = Responder(), start()
    challenge = responder.challenge(handshake.request)
    proof = proved(handshake, Responder())
    foreign = begin(CONTROLLER, "f" * 32, bytes(range(32)), 1)
    for state, payload in (
        (proof, challenge),
        (handshake, json.dumps({"v": 1, "type": "grant", "txn": TXN, "nonce": "A" * 16, "box": ""}).encode()),
        (foreign, challenge),
        (handshake, b""),
        (handshake, b"{}"),
        (handshake, b"\xff"),
    ):
        with pytest.raises(Ignored):
            receive(state, CONTROLLER, None, payload)


def test_pending_and_reject_are_told_as_they_are() -> None:
    handshake = start()
    pending = {"v": 1, "type": "pending", "txn": TXN, "retry_after_s": 60, "reason": "approval", "new": 1}
    assert receive(handshake, CONTROLLER, None, json.dumps(pending).encode()) == Wait(60, "approval")
    reject = {"v": 1, "type": "reject", "txn": TXN, "code": "some-new-code", "retry_after_s": None}
    assert receive(handshake, CONTROLLER, None, json.dumps(reject).encode()) == Over("some-new-code", None)


def test_a_certificate_must_be_of_the_devices_own_key() -> None:
    mine, theirs = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    key = mine.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for private, usable in ((mine, True), (theirs, False)):
        certificate = self_signed(private)
        responder = Responder(
            grants=lambda serial, der=certificate: identity(serial, password=None, certificate=b64(der))  # type: ignore[misc]
        )
        proof = proved(start(key=key), responder)
        grant = responder.grant(proof.request)
        assert responder.proof
        assert responder.proof.csr
        assert x509.load_der_x509_csr(unb64(responder.proof.csr)).is_signature_valid
        assert len(proof.request) <= MAX_HELLO
        if usable:
            assert isinstance(receive(proof, CONTROLLER, None, grant), Granted)
        else:
            with pytest.raises(Ignored, match="another key"):
                receive(proof, CONTROLLER, None, grant)
