"""Reads the claims file, a CSV with the header serial,claim_key,version: what production gave to the controllers."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from schema.topics import is_device_name

KEY_BYTES = 32
LAST_VERSION = 32_767


@dataclass(frozen=True)
class Claim:
    serial: str
    version: int
    """Version of the master key from which the claim key was derived; 0 for a claim key of the controller's own."""
    key: bytes = field(repr=False)


def read_claims(path: Path, warn: Callable[[str], None]) -> list[Claim]:
    """Read the claims. `warn` takes a line of text for people. Raises ValueError, OSError."""
    if path.stat().st_mode & 0o077:
        warn(f"{path} holds claim keys and other users can read it: chmod 600")
    with path.open(newline="") as file:
        rows = csv.DictReader(file)
        if not {"serial", "claim_key", "version"} <= set(rows.fieldnames or ()):
            raise ValueError(f"{path}: the first line must be serial,claim_key,version")
        claims = [_claim(row, f"{path}, line {rows.line_num}") for row in rows]
    if not claims or len({claim.serial for claim in claims}) < len(claims):
        raise ValueError(f"{path}: a serial stands twice" if claims else f"{path}: it has no serial")
    return claims


def _claim(row: Mapping[str, str | None], where: str) -> Claim:
    serial, text, version = (row[name] or "" for name in ("serial", "claim_key", "version"))
    if not is_device_name(serial):
        raise ValueError(f"{where}: {serial!r} is not a serial number")
    try:
        key, number = bytes.fromhex(text), int(version)
    except ValueError:
        key, number = b"", 0
    if len(key) != KEY_BYTES or not 0 <= number <= LAST_VERSION:
        raise ValueError(f"{where}: a claim key has 64 hexadecimal digits, and a version is 0 to {LAST_VERSION}")
    return Claim(serial, number, key)
