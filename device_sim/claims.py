"""The claims file: what production gave to the controllers. CSV with the header serial,claim_key,version."""

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
    """Of the master key that the claim key was made from; 0: a claim key of its own."""
    key: bytes = field(repr=False)


def read_claims(path: Path, warn: Callable[[str], None]) -> list[Claim]:
    """Raises ValueError, OSError. `warn` takes a line of text for people."""
    if path.stat().st_mode & 0o077:
        warn(f"{path} has claim keys in it and can be read by others: chmod 600")
    with path.open(newline="") as file:
        rows = csv.DictReader(file)
        if not {"serial", "claim_key", "version"} <= set(rows.fieldnames or ()):
            raise ValueError(f"{path}: the first line must be serial,claim_key,version")
        claims = [_claim(row, f"{path}, line {rows.line_num}") for row in rows]
    if not claims or len({claim.serial for claim in claims}) < len(claims):
        raise ValueError(f"{path}: a serial is there twice" if claims else f"{path}: there is no serial in it")
    return claims


def _claim(row: Mapping[str, str | None], where: str) -> Claim:
    serial, text, version = (row[name] or "" for name in ("serial", "claim_key", "version"))
    if not is_device_name(serial):
        raise ValueError(f"{where}: {serial!r} is no serial number")
    try:
        key, number = bytes.fromhex(text), int(version)
    except ValueError:
        key, number = b"", 0
    if len(key) != KEY_BYTES or not 0 <= number <= LAST_VERSION:
        raise ValueError(f"{where}: a claim key has 64 hexadecimal digits, and a version is 0 to {LAST_VERSION}")
    return Claim(serial, number, key)
