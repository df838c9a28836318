"""Exports until when certificates are valid. It reads those in the secrets directory once a minute, as people may have
renewed them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from ssl import cert_time_to_seconds
from typing import Any

import structlog

from gateway import metrics
from gateway.errors import words_of

log = structlog.get_logger()

LOOK_S = 60.0
FILES = {"broker": "broker/server.pem", "authority": "ca.pem", "crl": "broker/crl.pem"}


async def watch(directory: Path) -> None:
    """Read the certificates in `directory` every LOOK_S. Never returns."""
    while True:
        look(directory)
        await asyncio.sleep(LOOK_S)


def look(directory: Path) -> None:
    """Export the expiry of each file. One that cannot be read counts as expired: the broker cannot read it either."""
    from cryptography import x509  # noqa: PLC0415  # a gateway without secrets need not load it

    for name, file in FILES.items():
        if not (directory / file).exists():
            continue
        try:
            text = (directory / file).read_bytes()
            if name == "crl":
                ends = x509.load_pem_x509_crl(text).next_update_utc
            else:
                ends = x509.load_pem_x509_certificate(text).not_valid_after_utc
        except (OSError, ValueError) as error:
            log.error("a certificate cannot be read", file=str(directory / file), error=words_of(error))
            metrics.CERTIFICATE_EXPIRY.set(0, name)
        else:
            metrics.CERTIFICATE_EXPIRY.set(ends.timestamp() if ends else float("inf"), name)


def served(certificate: dict[str, Any] | None) -> None:
    """Export the expiry of the broker's certificate, as `SSLSocket.getpeercert` returns it."""
    if certificate and "notAfter" in certificate:
        metrics.CERTIFICATE_EXPIRY.set(cert_time_to_seconds(certificate["notAfter"]), "served")
