"""Worked examples of enrollment, for whoever writes a controller: `python -m tests.enrollment_vectors`.

docs/enrollment-vectors.json is its output; a test keeps it so, and holds the gateway against it. The arithmetic is
written out here once more, after docs/enrollment.md, with nothing of the gateway's.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

PROTOCOL = b"biogate-enroll/1"
ABOUT = """\
Worked examples for docs/enrollment.md. Bytes are in hexadecimal; members whose names end in `_text` are UTF-8 texts,
exactly as they go over the wire, into the transcript or into the box. Private keys are raw: 32 bytes as in RFC 8032
(Ed25519) and RFC 7748 (X25519). With the inputs of an example a controller must come to the same values; its messages
may be written differently (order of members, spaces), as it is the bytes sent that count. `refuse` has replies that a
controller must ignore, at the point named in `at`, in the handshake of the first example; `kept_gateway`, where it is
there, is the gateway's key that the controller has kept from an earlier grant.
"""


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def lp(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def secret(label: str, length: int = 32) -> bytes:
    """A fixed value that looks random."""
    return hashlib.shake_256(f"biogate vectors {label}".encode()).digest(length)


def message(**members: Any) -> bytes:
    return json.dumps(members, separators=(",", ":")).encode()


def mac(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "sha256")


def example(name: str, serial: str, *, claim: int, csr: bool) -> dict[str, Any]:
    """A whole handshake: inputs, messages, and every value between."""
    master = secret(f"master {claim}")
    psk = mac(master, b"claim/1/" + serial.encode()) if claim else secret(f"claim key {serial}")
    identity = Ed25519PrivateKey.from_private_bytes(secret(f"identity {serial}"))
    device = X25519PrivateKey.from_private_bytes(secret(f"device ephemeral {name}"))
    gateway = Ed25519PrivateKey.from_private_bytes(secret("gateway"))
    ours = X25519PrivateKey.from_private_bytes(secret(f"gateway ephemeral {name}"))
    identity_public = identity.public_key().public_bytes_raw()
    txn = secret(f"txn {name}", 16).hex()

    hello = message(
        v=1,
        type="hello",
        txn=txn,
        t=1795161794000,
        serial=serial,
        identity=b64(identity_public),
        ephemeral=b64(device.public_key().public_bytes_raw()),
        claim=claim,
        hardware="rev C",
        firmware="2.4.1",
        channels=["ph", "temperature"],
    )
    body = message(
        nonce=b64(secret(f"nonce {name}", 16)),
        ephemeral=b64(ours.public_key().public_bytes_raw()),
        gateway=b64(gateway.public_key().public_bytes_raw()),
        expires_s=120,
    )
    th2 = hashlib.sha256(lp(PROTOCOL) + lp(hello) + lp(body)).digest()
    shared = device.exchange(ours.public_key())
    keys = HKDF(SHA256(), 96, th2, PROTOCOL).derive(shared + psk)
    k_d, k_g, k_s = keys[:32], keys[32:64], keys[64:]
    challenge_mac, challenge_sig = mac(k_g, b"challenge" + th2), gateway.sign(b"challenge" + th2)
    challenge = message(v=1, type="challenge", txn=txn, body=b64(body), mac=b64(challenge_mac), sig=b64(challenge_sig))
    request = certificate_request(serial) if csr else b""
    proof_sig, proof_mac = identity.sign(b"proof" + th2 + request), mac(k_d, b"proof" + th2 + request)
    proof = message(
        v=1,
        type="proof",
        txn=txn,
        sig=b64(proof_sig),
        mac=b64(proof_mac),
        hello=b64(hello),
        body=b64(body),
        **({"csr": b64(request)} if csr else {}),
    )
    th3 = hashlib.sha256(lp(PROTOCOL) + lp(hello) + lp(body) + lp(proof)).digest()
    plaintext = message(
        device=serial,
        username=f"{serial}.1",
        client_id=secret(f"client id {name}", 16).hex(),
        broker="mqtts://plant.example:8885" if csr else "mqtts://plant.example:8883",
        topic=f"bioreactors/{serial}",
        generation=1,
        boot=0,
        **({"certificate": b64(certificate(f"{serial}.1"))} if csr else {"password": b64(secret(f"password {name}"))}),
    )
    nonce = secret(f"box nonce {name}", 12)
    box = ChaCha20Poly1305(k_s).encrypt(nonce, plaintext, th3)
    grant = message(v=1, type="grant", txn=txn, nonce=b64(nonce), box=b64(box))
    inputs = {
        **({"master": master} if claim else {}),
        "psk": psk,
        "identity_private": identity.private_bytes_raw(),
        "identity_public": identity_public,
        "device_ephemeral_private": device.private_bytes_raw(),
        "device_ephemeral_public": device.public_key().public_bytes_raw(),
        "gateway_private": gateway.private_bytes_raw(),
        "gateway_public": gateway.public_key().public_bytes_raw(),
        "gateway_ephemeral_private": ours.private_bytes_raw(),
        "gateway_ephemeral_public": ours.public_key().public_bytes_raw(),
        "box_nonce": nonce,
        **({"certificate_key_private_pkcs8": pkcs8(), "csr": request} if csr else {}),
    }
    values = {
        "th2": th2,
        "shared": shared,
        "k_d": k_d,
        "k_g": k_g,
        "k_s": k_s,
        "challenge_mac": challenge_mac,
        "challenge_sig": challenge_sig,
        "proof_mac": proof_mac,
        "proof_sig": proof_sig,
        "th3": th3,
        "box": box,
    }
    texts = {
        "hello": hello,
        "body": body,
        "challenge": challenge,
        "proof": proof,
        "plaintext": plaintext,
        "grant": grant,
    }
    return {
        "name": name,
        "txn": txn,
        "serial": serial,
        "claim": claim,
        "fingerprint": base64.b32encode(hashlib.sha256(identity_public).digest())[:12].decode(),
        **{name: value.hex() for name, value in (inputs | values).items()},
        **{f"{name}_text": text.decode() for name, text in texts.items()},
    }


def refusals(of: dict[str, Any]) -> list[dict[str, str]]:
    """Replies that are not to be believed."""

    def changed(text: str, **members: Any) -> str:
        return message(**(json.loads(of[text]) | members)).decode()

    def resealed(body: bytes, *, psk: bytes, signer: Ed25519PrivateKey) -> str:
        """A challenge that is right in itself, by somebody with another claim key or gateway key."""
        th2 = hashlib.sha256(lp(PROTOCOL) + lp(of["hello_text"].encode()) + lp(body)).digest()
        ephemeral = base64.urlsafe_b64decode(json.loads(body)["ephemeral"] + "=")
        device = X25519PrivateKey.from_private_bytes(bytes.fromhex(of["device_ephemeral_private"]))
        low = not any(ephemeral)
        shared = bytes(32) if low else device.exchange(ours.public_key())
        k_g = HKDF(SHA256(), 96, th2, PROTOCOL).derive(shared + psk)[32:64]
        return changed(
            "challenge_text",
            body=b64(body),
            mac=b64(mac(k_g, b"challenge" + th2)),
            sig=b64(signer.sign(b"challenge" + th2)),
        )

    ours = X25519PrivateKey.from_private_bytes(bytes.fromhex(of["gateway_ephemeral_private"]))
    psk, body = bytes.fromhex(of["psk"]), json.loads(of["body_text"])
    gateway = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(of["gateway_private"]))
    other = Ed25519PrivateKey.from_private_bytes(secret("another gateway"))
    foreign = message(**(body | {"gateway": b64(other.public_key().public_bytes_raw())}))
    zeros = message(**(body | {"ephemeral": b64(bytes(32))}))
    flipped = bytes([bytes.fromhex(of["box"])[0] ^ 1]) + bytes.fromhex(of["box"])[1:]
    cases = {
        ("challenge", "the sender does not know the claim key"): resealed(
            of["body_text"].encode(), psk=secret("another claim key"), signer=gateway
        ),
        ("challenge", "signed by another key than the gateway's that it names"): changed(
            "challenge_text", sig=b64(other.sign(b"challenge" + bytes.fromhex(of["th2"])))
        ),
        ("challenge", "the claim key is right, but another gateway key was kept from an earlier grant"): resealed(
            foreign, psk=psk, signer=other
        ),
        ("challenge", "the ephemeral key leads to a shared secret of zeros"): resealed(zeros, psk=psk, signer=gateway),
        ("challenge", "of another transaction"): changed("challenge_text", txn="0" * 32),
        ("grant", "a byte of the box was changed"): changed("grant_text", box=b64(flipped)),
        ("grant", "of another transaction"): changed("grant_text", txn="0" * 32),
    }
    return [
        {"at": at, "why": why, **({"kept_gateway": of["gateway_public"]} if "kept" in why else {}), "reply_text": reply}
        for (at, why), reply in cases.items()
    ]


def certificate_key() -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(int.from_bytes(secret("certificate key")), ec.SECP256R1())


def pkcs8() -> bytes:
    return certificate_key().private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def certificate_request(serial: str) -> bytes:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, serial)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    return builder.sign(certificate_key(), SHA256(), ecdsa_deterministic=True).public_bytes(Encoding.DER)


def certificate(username: str) -> bytes:
    """One as a gateway may issue it."""
    authority = ec.derive_private_key(int.from_bytes(secret("authority")), ec.SECP256R1())
    begin = datetime(2026, 11, 20, 8, tzinfo=UTC)
    issuer, subject = (
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in ("Biogate plant 1f2e3d4c", username)
    )
    serial = int.from_bytes(secret("serial", 19))
    builder = (
        x509.CertificateBuilder(issuer, subject, certificate_key().public_key(), serial)
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=90))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
    )
    return builder.sign(authority, SHA256(), ecdsa_deterministic=True).public_bytes(Encoding.DER)


def document() -> dict[str, Any]:
    examples = [
        example("claim key from a master key, password", "BR-2044", claim=1, csr=False),
        example("claim key of its own, password", "BR-7.b_3", claim=0, csr=False),
        example("claim key from a master key, certificate", "BR-2045", claim=1, csr=True),
        example("claim key from the second version of the master key", "BR-2046", claim=2, csr=False),
    ]
    return {"about": ABOUT, "examples": examples, "refuse": refusals(examples[0])}


def text() -> str:
    """The document as it is committed."""
    return json.dumps(document(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(text())
