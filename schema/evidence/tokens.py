"""Time stamp tokens of RFC 3161: the request for one, and the check of one. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat import asn1
from rfc3161_client import (
    HashAlgorithm,
    TimeStampRequest,
    TimestampRequestBuilder,
    Verifier,
    VerifierBuilder,
    decode_timestamp_response,
)
from rfc3161_client.errors import VerificationError

from schema.errors import BiogateError


class TokenRefused(BiogateError):
    """Raised for a time stamp that does not count, or authorities that cannot be read; says why."""


@asn1.sequence
class _Status:
    status: int


@asn1.sequence
class _Reply:
    """A TimeStampResp of RFC 3161, section 2.4.2."""

    status: _Status
    token: asn1.TLV


def authorities(path: Path) -> list[x509.Certificate]:
    """The certificates of a file, PEM. Raises TokenRefused."""
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError) as error:
        raise TokenRefused(f"{path} has no certificates that can be read: {error}") from error


def token_request(text: str) -> TimeStampRequest:
    """A request for a time stamp over the SHA-256 of the text, with a nonce."""
    return TimestampRequestBuilder().data(text.encode()).hash_algorithm(HashAlgorithm.SHA256).build()


def token_of(reply: bytes, request: TimeStampRequest, text: str, roots: Sequence[x509.Certificate]) -> bytes:
    """The token (DER) of a reply to `request`, whose signature leads to one of `roots`. Raises TokenRefused."""
    try:
        said = decode_timestamp_response(reply)
        _verifier(VerifierBuilder.from_request(request), roots).verify_message(said, text.encode())
        return said.time_stamp_token()
    except (VerificationError, ValueError) as error:
        raise TokenRefused(f"the service gives no time stamp that counts: {error}") from error


def check_token(token: bytes, text: str, roots: Sequence[x509.Certificate]) -> None:
    """Raises TokenRefused unless `token` is a time stamp of the text, signed by one for whom `roots` vouch."""
    try:
        reply = asn1.encode_der(_Reply(status=_Status(status=0), token=asn1.decode_der(asn1.TLV, token)))
        _verifier(VerifierBuilder(), roots).verify_message(decode_timestamp_response(reply), text.encode())
    except (VerificationError, ValueError) as error:
        raise TokenRefused(f"no time stamp of this checkpoint: {error}") from error


def _verifier(builder: VerifierBuilder, roots: Sequence[x509.Certificate]) -> Verifier:
    for root in roots:
        builder = builder.add_root_certificate(root)
    return builder.build()
