"""The gateway's cryptography refuses what is not right, and issues only what it should."""

from __future__ import annotations

import contextlib
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from cryptography import x509
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given
from hypothesis import strategies as st

from gateway.enrollment import handshake
from gateway.enrollment.handshake import HandshakeKeys, HandshakeRefused
from schema.enrollment import Grant, Hello, Identity, Proof, b64, unb64
from tests.enrollment_vectors import document

EXAMPLE = document()["examples"][0]
KEYS = HandshakeKeys(*(bytes.fromhex(EXAMPLE[name]) for name in ("k_d", "k_g", "k_s")))
TH2, IDENTITY = bytes.fromhex(EXAMPLE["th2"]), bytes.fromhex(EXAMPLE["identity_public"])
PROOF = msgspec.json.decode(EXAMPLE["proof_text"], type=Proof)
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def is_proof(proof: Proof = PROOF, identity: bytes = IDENTITY, keys: HandshakeKeys = KEYS, th2: bytes = TH2) -> bool:
    return handshake.is_proof(proof, identity, keys, th2)


def changed(**members: str) -> Proof:
    return msgspec.structs.replace(PROOF, **members)


@given(st.sampled_from(["mac", "sig"]), st.integers(0, 31), st.integers(1, 255))
def test_a_proof_with_a_changed_byte_is_wrong(name: str, place: int, bits: int) -> None:
    data = bytearray(unb64(getattr(PROOF, name)))
    data[place] ^= bits
    assert is_proof()
    assert not is_proof(changed(**{name: b64(bytes(data))}))


def test_a_proof_is_for_one_identity_one_claim_key_one_transcript_and_one_certificate_request() -> None:
    other = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    assert not is_proof(identity=other)
    assert not is_proof(identity=bytes(32))
    assert not is_proof(keys=KEYS._replace(device=KEYS.gateway))
    assert not is_proof(th2=bytes(32))
    assert not is_proof(changed(csr=b64(b"request")))
    assert not is_proof(changed(csr="+/"))


def test_the_gateways_own_mac_is_no_proof() -> None:
    """A reflection: it is made with another key, and over other words."""
    assert not is_proof(changed(mac=b64(bytes.fromhex(EXAMPLE["challenge_mac"]))))


@pytest.mark.parametrize(
    "ephemeral",
    [bytes(32), bytes([1, *bytes(31)]), bytes.fromhex("ec" + "ff" * 30 + "7f"), bytes.fromhex("ed" + "ff" * 30 + "7f")],
)
def test_an_ephemeral_key_of_low_order_is_refused(ephemeral: bytes) -> None:
    hello = msgspec.json.decode(EXAMPLE["hello_text"], type=Hello)
    weak = msgspec.structs.replace(hello, ephemeral=b64(ephemeral))
    with pytest.raises(HandshakeRefused):
        handshake.answer(
            b"hello", weak, b"body", bytes(32), Ed25519PrivateKey.generate(), ephemeral=X25519PrivateKey.generate()
        )


# Points of Edwards25519 (RFC 8032, 5.1), as far as a test needs them.
P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P


def add(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
    product = D * a[0] * b[0] * a[1] * b[1]
    return (
        (a[0] * b[1] + a[1] * b[0]) * pow(1 + product, -1, P) % P,
        (a[1] * b[1] + a[0] * b[0]) * pow(1 - product, -1, P) % P,
    )


def small_order() -> set[int]:
    """The y coordinates of the eight points whose order divides 8: those that a generator of them leads to."""
    y = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    x = x if x * x % P == square else x * pow(2, (P - 1) // 4, P) % P
    assert x * x % P == square
    point, found = (x, y), []
    for _ in range(8):
        found.append(point)
        point = add(point, (x, y))
    assert point == (x, y)
    assert (0, 1) in found
    return {y for _, y in found}


SIGNS = (0, 1 << 255)
ENCODINGS = sorted(
    {y | sign for y in small_order() for sign in SIGNS}  # and each y of another encoding: P and beyond
    | {y | sign for y in range(P, 2**255) for sign in SIGNS}
)


@pytest.mark.parametrize("encoded", ENCODINGS, ids=lambda encoded: encoded.to_bytes(32, "little").hex()[:16])
def test_an_identity_key_of_small_order_or_of_another_encoding_is_refused(encoded: int) -> None:
    """With such a key a signature of zeros is right for any message, or the same key is another identity."""
    with pytest.raises(HandshakeRefused):
        handshake.identity_key(b64(encoded.to_bytes(32, "little")))


def test_the_keys_that_controllers_make_are_taken() -> None:
    for _ in range(50):
        key = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
        assert handshake.identity_key(b64(key)) == key


@pytest.mark.parametrize("text", ["", "A" * 42, "A" * 44, "A" * 42 + "=", "A" * 42 + "\n"])
def test_a_key_has_32_bytes(text: str) -> None:
    with pytest.raises(HandshakeRefused):
        handshake.public_key(text)


def test_a_grant_opens_with_the_keys_and_transcript_of_its_handshake_alone() -> None:
    identity = Identity(
        device="d", username="d.1", client_id="c", broker="b", topic="t", generation=1, boot=0, password="secret"
    )
    sealed = handshake.grant(EXAMPLE["txn"], identity, KEYS, TH2, bytes(12))
    assert b"secret" not in sealed
    grant = msgspec.json.decode(sealed, type=Grant)
    nonce, box = unb64(grant.nonce), unb64(grant.box)
    opened = ChaCha20Poly1305(KEYS.seal).decrypt(nonce, box, TH2)
    assert msgspec.json.decode(opened, type=Identity) == identity
    for key, transcript in ((KEYS.device, TH2), (KEYS.seal, bytes(32))):
        with pytest.raises(InvalidTag):
            ChaCha20Poly1305(key).decrypt(nonce, box, transcript)


# -- certificates

CURVES: dict[str, Any] = {
    "P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "Ed25519": Ed25519PrivateKey.generate,
}


def csr(key: Any, subject: str = "somebody else") -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("plant.example")]), critical=False)
    return builder.sign(key, None if isinstance(key, Ed25519PrivateKey) else SHA256()).public_bytes(Encoding.DER)


def authority(until: datetime = NOW + timedelta(days=3652)) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "plant")])
    builder = (
        x509.CertificateBuilder(name, name, key.public_key(), 1)
        .not_valid_before(NOW - timedelta(days=30))
        .not_valid_after(until)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    )
    return builder.sign(key, SHA256()), key


def issue(request: bytes, username: str = "br-1.3", **more: Any) -> x509.Certificate:
    issued = handshake.certificate(request, username, authority(**more), NOW, secrets.randbits(159))
    return x509.load_der_x509_certificate(issued)


@pytest.mark.parametrize("kind", CURVES)
def test_a_certificate_is_for_the_key_of_the_request_and_says_nothing_else_of_it(kind: str) -> None:
    key = CURVES[kind]()
    issued_by = authority()
    issued = x509.load_der_x509_certificate(handshake.certificate(csr(key), "br-1.3", issued_by, NOW, 7))
    issued.verify_directly_issued_by(issued_by[0])
    assert issued.public_key() == key.public_key()
    assert issued.subject.rfc4514_string() == "CN=br-1.3"
    assert issued.not_valid_after_utc - NOW == timedelta(days=90)
    assert issued.not_valid_before_utc <= NOW
    extensions = {type(extension.value): extension.value for extension in issued.extensions}
    assert x509.SubjectAlternativeName not in extensions
    assert extensions[x509.BasicConstraints] == x509.BasicConstraints(ca=False, path_length=None)
    assert extensions[x509.ExtendedKeyUsage] == x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])


def test_a_certificate_does_not_outlive_its_authority() -> None:
    until = NOW + timedelta(days=7)
    assert issue(csr(CURVES["P-256"]()), until=until).not_valid_after_utc == until
    with pytest.raises(HandshakeRefused, match="has ended"):
        issue(csr(CURVES["P-256"]()), until=NOW - timedelta(days=1))


@pytest.mark.parametrize(
    "key", [rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP521R1())], ids=["RSA", "P-521"]
)
def test_other_keys_get_no_certificate(key: Any) -> None:
    with pytest.raises(HandshakeRefused):
        handshake.certificate_key(csr(key))


def test_a_request_that_its_key_has_not_signed_gets_no_certificate() -> None:
    request = bytearray(csr(CURVES["Ed25519"]()))
    request[-1] ^= 1
    with pytest.raises(HandshakeRefused):
        handshake.certificate_key(bytes(request))


@given(st.binary(max_size=1050))
def test_any_bytes_are_no_certificate_request(data: bytes) -> None:
    with pytest.raises(HandshakeRefused):
        handshake.certificate_key(data)


REQUEST = csr(CURVES["P-256"]())


@given(st.integers(0, len(REQUEST) - 1), st.integers(1, 255))
def test_a_changed_byte_never_makes_another_key_valid(place: int, bits: int) -> None:
    """A few bytes say how the signature is packed and not what is signed: a change there may be accepted."""
    request = bytearray(REQUEST)
    request[place] ^= bits
    with contextlib.suppress(HandshakeRefused):
        assert handshake.certificate_key(bytes(request)) == handshake.certificate_key(REQUEST)


def test_a_name_that_is_too_long_for_x509_gets_no_certificate() -> None:
    request = csr(CURVES["P-256"]())
    assert issue(request, "x" * 62 + ".1").subject.rfc4514_string() == "CN=" + "x" * 62 + ".1"
    with pytest.raises(HandshakeRefused):
        issue(request, "x" * 63 + ".1")
