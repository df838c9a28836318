"""The gateway's half of the cryptography of enrollment: docs/enrollment.md. It does no I/O and reads no clock.

Anything unusable that a device sent raises HandshakeRefused.
"""

from __future__ import annotations

import hashlib
import hmac
from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, SECP384R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey as EcKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gateway.secrets import CLOCKS_DIFFER, key_usage
from schema.enrollment import PROTOCOL, Challenge, ChallengeBody, Grant, Hello, Identity, Proof, b64, unb64

NONCE_BYTES, BOX_NONCE_BYTES = 16, 12
CERTIFICATE_LIFE = timedelta(days=90)
MAX_COMMON_NAME = 64
"""Most characters of a common name: X.509's bound."""


class HandshakeRefused(Exception):
    """A device sent a key, signature or certificate request that cannot be used."""


class HandshakeKeys(NamedTuple):
    """k_d and k_g, with which device and gateway prove themselves, and k_s, which seals the grant; 32 bytes each."""

    device: bytes
    gateway: bytes
    seal: bytes

    def pack(self) -> bytes:
        return b"".join(self)

    @classmethod
    def unpack(cls, packed: bytes) -> HandshakeKeys:
        return cls(packed[:32], packed[32:64], packed[64:96])


class IssuedChallenge(NamedTuple):
    """A challenge: the reply as it is sent, its transcript hash th2, and the keys that check the proof."""

    reply: bytes
    transcript: bytes
    keys: HandshakeKeys


def transcript(*parts: bytes) -> bytes:
    """The transcript hash (SHA-256): th2 of (HELLO payload, body), th3 of (HELLO payload, body, PROOF payload)."""
    return hashlib.sha256(b"".join(len(part).to_bytes(4, "big") + part for part in (PROTOCOL, *parts))).digest()


def shared_secret(private: X25519PrivateKey, public: bytes) -> bytes:
    """The X25519 secret shared with `public`, 32 bytes. Raises HandshakeRefused for a key of low order (zeros)."""
    try:
        return private.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError as error:
        raise HandshakeRefused("ephemeral key") from error


def derive(shared: bytes, psk: bytes, th2: bytes) -> HandshakeKeys:
    """Derive the keys by HKDF-SHA256 from the shared secret and the claim key `psk`, with th2 as salt."""
    return HandshakeKeys.unpack(HKDF(SHA256(), 96, th2, PROTOCOL).derive(shared + psk))


def challenge_body(nonce: bytes, ephemeral: X25519PrivateKey, signer: Ed25519PrivateKey, expires_s: int) -> bytes:
    """The body of a challenge; `nonce` has 16 bytes."""
    return msgspec.json.encode(
        ChallengeBody(
            nonce=b64(nonce),
            ephemeral=b64(ephemeral.public_key().public_bytes_raw()),
            gateway=b64(signer.public_key().public_bytes_raw()),
            expires_s=expires_s,
        )
    )


def answer(
    payload: bytes, hello: Hello, body: bytes, psk: bytes, signer: Ed25519PrivateKey, *, ephemeral: X25519PrivateKey
) -> IssuedChallenge:
    """Challenge a HELLO, which came as `payload`, with this body; `psk` is the claim key. Raises HandshakeRefused."""
    th2 = transcript(payload, body)
    keys = derive(shared_secret(ephemeral, public_key(hello.ephemeral)), psk, th2)
    signed = b"challenge" + th2
    mac = hmac.digest(keys.gateway, signed, "sha256")
    reply = Challenge(txn=hello.txn, body=b64(body), mac=b64(mac), sig=b64(signer.sign(signed)))
    return IssuedChallenge(msgspec.json.encode(reply), th2, keys)


def is_proof(proof: Proof, identity: bytes, keys: HandshakeKeys, th2: bytes) -> bool:
    """Whether a proof is made with the claim key (mac) and the identity key (sig), for this transcript."""
    try:
        signed = b"proof" + th2 + csr_of(proof)
        mac, signature = unb64(proof.mac), unb64(proof.sig)
        right = hmac.compare_digest(mac, hmac.digest(keys.device, signed, "sha256"))
        Ed25519PublicKey.from_public_bytes(identity).verify(signature, signed)
    except (ValueError, InvalidSignature, HandshakeRefused):
        return False
    return right


def csr_of(proof: Proof) -> bytes:
    """The certificate request of a proof in DER; empty if it has none. Raises HandshakeRefused."""
    try:
        return unb64(proof.csr or "")
    except ValueError as error:
        raise HandshakeRefused("certificate request") from error


def grant(txn: str, identity: Identity, keys: HandshakeKeys, th3: bytes, nonce: bytes) -> bytes:
    """Make the grant, which seals `identity` for the device (ChaCha20-Poly1305); `nonce` is 12 new random bytes."""
    box = ChaCha20Poly1305(keys.seal).encrypt(nonce, msgspec.json.encode(identity), th3)
    return msgspec.json.encode(Grant(txn=txn, nonce=b64(nonce), box=b64(box)))


def body_of(challenge: bytes) -> bytes:
    """The body of a challenge as it was sent: a part of th3."""
    return unb64(msgspec.json.decode(challenge, type=Challenge).body)


def public_key(text: str) -> bytes:
    """Decode the 32 bytes of a key in a message. Raises HandshakeRefused."""
    try:
        key = unb64(text)
    except ValueError as error:
        raise HandshakeRefused("key") from error
    if len(key) != 32:
        raise HandshakeRefused("key")
    return key


def identity_key(text: str) -> bytes:
    """Decode an identity key (Ed25519, RFC 8032). Raises HandshakeRefused for another encoding of a key, which would
    count as another identity, and for a point of small order, under which anybody can sign."""
    key = public_key(text)
    y = int.from_bytes(key, "little") & (2**255 - 1)
    if y >= FIELD or y in SMALL_ORDER:
        raise HandshakeRefused("identity key")
    return key


FIELD = 2**255 - 19
SMALL_ORDER = {
    *(0, 1, FIELD - 1),
    0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826,
    0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7,
}
"""The y coordinates of the points whose order is 1, 2, 4 or 8."""


def certificate_key(csr: bytes) -> EcKey | Ed25519PublicKey:
    """The Ed25519, P-256 or P-384 key that signed a certificate request (PKCS #10, DER). Raises HandshakeRefused."""
    try:
        request = x509.load_der_x509_csr(csr)
        key = request.public_key()
        signed = request.is_signature_valid
    except Exception as error:  # many exceptions are possible, all for the bytes that were sent
        raise HandshakeRefused("certificate request") from error
    usable = isinstance(key, Ed25519PublicKey) or (isinstance(key, EcKey) and isinstance(key.curve, CURVES))
    if not signed or not usable:
        raise HandshakeRefused("certificate request")
    assert isinstance(key, EcKey | Ed25519PublicKey)
    return key


CURVES = (SECP256R1, SECP384R1)


def certificate(
    csr: bytes, username: str, authority: tuple[x509.Certificate, EllipticCurvePrivateKey], now: datetime, serial: int
) -> bytes:
    """Issue a client certificate (DER) for the key of `csr`, in the name of `username`; nothing else in `csr` counts.

    `serial` is random, up to 159 bits. Raises HandshakeRefused, also for a name that is too long for X.509.
    """
    key = certificate_key(csr)
    if len(username) > MAX_COMMON_NAME:
        raise HandshakeRefused("name too long for a certificate")
    issuer, issuer_key = authority
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, username)])
    end = min(now + CERTIFICATE_LIFE, issuer.not_valid_after_utc)
    if end <= now:
        raise HandshakeRefused("the authority's certificate has ended")
    builder = (
        x509.CertificateBuilder(issuer.subject, subject, key, serial)
        .not_valid_before(now - CLOCKS_DIFFER)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage(authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )
    return builder.sign(issuer_key, SHA256()).public_bytes(Encoding.DER)
