"""A worked example of evidence, for whoever writes a verifier: `python -m tests.evidence_vectors`.

docs/evidence-vectors.json is its output; tests keep it so, and hold the database, the product's own code and verify.py
against it. The texts, hashes and bytes are written out here once more, after docs/evidence.md, with nothing of theirs.
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

ABOUT = """\
A worked example for docs/evidence.md. Private keys are raw: 32 bytes in hexadecimal, as in RFC 8032. `texts` has of
each kind of text what is hashed or signed and what comes of it; `frame` the bytes of a row of a seal; `bundle` the
lines of a whole bundle, in which nothing is wrong and all is certain once the first key is trusted.
"""
BEGIN = datetime(2026, 11, 30, 22, tzinfo=UTC)
LAYOUTS = {"layouts": [{"channels": [["ph", "pH"], ["temperature", "°C"], ["od", None]], "layout": 12}]}
Frame = tuple[str, int, str, int | None, int | None, list[float | None], list[int | None] | None]
"""time, layout, received, boot, seq, values, quality"""


def key(label: str) -> Ed25519PrivateKey:
    """A fixed key that looks random."""
    return Ed25519PrivateKey.from_private_bytes(hashlib.shake_256(f"biogate evidence {label}".encode()).digest(32))


def octets(of: Ed25519PrivateKey) -> bytes:
    return of.public_key().public_bytes_raw()


def name_of(of: Ed25519PrivateKey) -> str:
    return sha256(octets(of))[:16]


def sha256(content: bytes | str) -> str:
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()


def b64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def canonical(content: Any) -> str:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def jsonb(content: Any) -> str:
    """JSON as PostgreSQL writes jsonb: shorter names first, a space after each comma and colon."""
    if isinstance(content, dict):
        names = sorted(content, key=lambda name: (len(name.encode()), name.encode()))
        return "{" + ", ".join(f"{jsonb(name)}: {jsonb(content[name])}" for name in names) + "}"
    if isinstance(content, list | tuple):
        return "[" + ", ".join(map(jsonb, content)) + "]"
    return json.dumps(content, ensure_ascii=False)


def instant(after: float) -> str:
    return (BEGIN + timedelta(seconds=after)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def row_of(frame: Frame) -> bytes:
    """The row that `copy (…) to stdout (format binary)` gives for a frame."""
    time, layout, received, boot, seq, values, quality = frame

    def sized(content: bytes | None) -> bytes:
        return struct.pack(">i", -1) if content is None else struct.pack(">i", len(content)) + content

    def moment(text: str) -> bytes:
        since = datetime.fromisoformat(text) - datetime(2000, 1, 1, tzinfo=UTC)
        return struct.pack(">q", since // timedelta(microseconds=1))

    def array(code: str, oid: int, items: Sequence[float | None]) -> bytes:
        head = struct.pack(">iiiii", 1, int(None in items), oid, len(items), 1)
        return head + b"".join(sized(None if one is None else struct.pack(f">{code}", one)) for one in items)

    fields = [
        *(moment(time), struct.pack(">i", layout), moment(received)),
        *(None if one is None else struct.pack(">q", one) for one in (boot, seq)),
        *(array("d", 701, values), None if quality is None else array("h", 21, quality)),
    ]
    return struct.pack(">h", 7) + b"".join(map(sized, fields))


def line_of(device: str, frame: Frame) -> dict[str, Any]:
    names = "time", "layout", "received", "boot", "seq", "values", "quality"
    return {"kind": "frame", "device": device, **dict(zip(names, frame, strict=True))}


def copied(frames: Sequence[Frame]) -> bytes:
    return b"PGCOPY\n\xff\r\n\0" + bytes(8) + b"".join(map(row_of, frames)) + struct.pack(">h", -1)


@dataclass
class Trail:
    """A chain of rows of an organization, with what is signed of it: the lines of a bundle."""

    organization: int = 1
    signer: Ed25519PrivateKey = field(default_factory=lambda: key("first"))
    rows: list[dict[str, Any]] = field(default_factory=list)
    checkpoints: list[dict[str, Any]] = field(default_factory=list)
    keys: list[dict[str, Any]] = field(default_factory=list)
    others: list[dict[str, Any]] = field(default_factory=list)
    now: float = 0.0
    seals: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._take_over(self.signer, None)

    def row(self, action: str, subject: str, new: Any = None, who: str = "eva@example.com", old: Any = None) -> int:
        """Append a row, ten seconds after the one before; return its number."""
        self.now += 10
        n = len(self.rows) + 1
        epoch = f"{(BEGIN + timedelta(seconds=self.now)).timestamp():.6f}"
        items = [str(n), epoch, *map(jsonb, ("biogate_api", who, action, subject, old, new, "as the test says"))]
        text = "[" + ", ".join(items) + "]"
        seed = b"" if self.organization == 1 else hashlib.sha256(f"organization {self.organization}".encode()).digest()
        before = bytes.fromhex(self.rows[-1]["hash"]) if self.rows else seed
        self.rows.append({"kind": "event", "n": n, "text": text, "hash": sha256(before + text.encode())})
        return n

    def checkpoint(self) -> dict[str, Any]:
        """Sign how far the chain is."""
        self.now += 5
        text = canonical(
            {
                **{"at": instant(self.now), "kind": "biogate checkpoint 1", "organization": self.organization},
                **{"before": sha256(self.checkpoints[-1]["text"]) if self.checkpoints else ""},
                **{"hash": self.rows[-1]["hash"], "n": len(self.rows), "number": len(self.checkpoints) + 1},
                "key": name_of(self.signer),
            }
        )
        signature = b64(self.signer.sign(text.encode()))
        made = {"kind": "checkpoint", "text": text, "signature": signature, "key": name_of(self.signer), "token": None}
        self.checkpoints.append(made)
        return made

    def change_key(self, new: Ed25519PrivateKey) -> None:
        before, self.signer = self.signer, new
        self._take_over(new, before)

    def _take_over(self, new: Ed25519PrivateKey, before: Ed25519PrivateKey | None) -> None:
        said = {"at": instant(self.now), "before": "" if before is None else name_of(before), "key": name_of(new)}
        text = canonical({**said, "kind": "biogate key 1", "public": b64(octets(new))})
        signed = None if before is None else b64(before.sign(text.encode()))
        self.keys.append(
            {"kind": "key", "text": text, "signature": b64(new.sign(text.encode())), "signature_before": signed}
        )

    def seal(self, frames: dict[tuple[str, str], Sequence[Frame]]) -> None:
        """Seal hours, by device and hour, with the frames that they have now, in one pass."""
        self.now += 5
        made: list[tuple[str, str, int, str]] = []
        for (device, hour), found in sorted(frames.items()):
            versions = self.seals.setdefault((device, hour), [])
            text = canonical(
                {
                    **{"at": instant(self.now), "before": sha256(versions[-1]) if versions else "", "device": device},
                    **{"digest": sha256(canonical(LAYOUTS).encode() + b"\n" + copied(found)), "frames": len(found)},
                    **{"hour": hour, "kind": "biogate seal 1", "organization": self.organization},
                    "version": len(versions) + 1,
                }
            )
            versions.append(text)
            made.append((device, hour, len(versions), text))
        self._row_of_pass(made)

    def _row_of_pass(self, made: list[tuple[str, str, int, str]]) -> None:
        number = len(self.rows) + 1
        devices: dict[str, dict[str, str]] = {}
        for device, hour, version, text in made:
            name = hour[:13] + (f"/{version}" if version > 1 else "")
            devices.setdefault(device, {})[name] = sha256(text)[:32]
        digest = sha256("".join(one[3] + "\n" for one in made))
        self.row("seal", "seals", {"pass": number, "seals": len(made), "digest": digest, "devices": devices}, "biogate")
        layouts = canonical(LAYOUTS)
        self.others += [{"kind": "seal", "text": one[3], "layouts": layouts, "pass": number} for one in made]

    def frames(self, device: str, frames: Sequence[Frame]) -> None:
        self.others += [line_of(device, one) for one in frames]

    def sign(self, record: str, content: str, now: dict[str, Any], meaning: str = "approved") -> None:
        """Sign a record, whose canonical form is `content`; `now`: which version it has since."""
        text = canonical(
            {
                **{"at": instant(self.now), "digest": sha256(content), "kind": "biogate signature 1"},
                **{"meaning": meaning, "name": "Eva Example", "organization": self.organization, "record": record},
                "who": "eva@example.com",
            }
        )
        self.row("signature", record, json.loads(text))
        self.others.append({"kind": "signature", "text": text, "content": content, "now": now})

    def file(self, name: str, content: bytes) -> None:
        self.row("report make", f"report/{name}", {"pdf_sha256": sha256(content)})
        self.others.append({"kind": "file", "name": name, "bytes": len(content), "sha256": sha256(content)})

    def lines(self, *, frames: Sequence[dict[str, str]] = (), whole: bool = True) -> list[dict[str, Any]]:
        """All of it as a bundle: head, keys, rows, checkpoints, then the rest."""
        head = {
            **{"kind": "head", "format": "biogate evidence 1", "installation": "example", "software": "biogate 0.1.0"},
            **{"organization": self.organization, "name": "main", "made_at": instant(self.now), "of": {}},
            **{"whole": whole, "events": [[1, len(self.rows)]], "frames": list(frames)},
        }
        return [head, *self.keys, *self.rows, *self.checkpoints, *self.others]


def hour_of_frames(hour: int, count: int = 4) -> list[Frame]:
    """Frames of an hour: with and without numbers, quality, and values that are missing."""
    found: list[Frame] = []
    for number in range(count):
        at = (hour - 22) * 3600 + number * 900 + 0.25
        values: list[float | None] = [7.0 + number / 10, 37.0, None if number % 2 else 1e-7]
        quality: list[int | None] | None = [0, 2, 1] if number % 2 else None
        boot, seq = (None, None) if number == 3 else (1790000000000, hour * 10 + number)
        found.append((instant(at), 12, instant(at + 0.125), boot, seq, values, quality))
    return found


PDF = b"%PDF-1.7 as it was reported"


def example() -> Trail:
    """Two hours of a device and one of another, a late frame, a change of keys, a file, and signatures of a record and
    of a former version."""
    trail = Trail()
    first, second = "2026-11-30T22:00:00Z", "2026-11-30T23:00:00Z"
    for number in range(5):
        trail.row("alarm rule put", f"alarm-rule/r{number}", {"é": [None, 1.5], "limit": number})
    trail.checkpoint()
    late = hour_of_frames(22)
    trail.now = 8000
    trail.seal(
        {("br-1", first): late[:3], ("br-1", second): hour_of_frames(23), ("br-2", first): hour_of_frames(22, 2)}
    )
    trail.checkpoint()
    trail.change_key(key("second"))
    late[3] = (*late[3][:2], instant(8100), *late[3][3:])
    trail.now = 8200
    trail.seal({("br-1", first): late})
    trail.checkpoint()
    trail.sign("report/12", '{"report":12,"version":1}', {"version": 1, "state": None})
    trail.file("report-12.pdf", PDF)
    trail.sign("sample/S-7", '{"status":"measured","version":1}', {"version": 2, "state": "approved"})
    trail.checkpoint()
    trail.others.sort(key=lambda one: one["kind"] != "seal")
    trail.frames("br-1", late + hour_of_frames(23))
    trail.frames("br-2", hour_of_frames(22, 2))
    return trail


ASKED = [{"device": name, "from": "2026-11-30T22:00:00Z", "to": "2026-12-01T00:00:00Z"} for name in ("br-1", "br-2")]


def document() -> dict[str, Any]:
    trail = example()
    event, checkpoint, change = trail.rows[1], trail.checkpoints[0], trail.keys[1]
    frame = hour_of_frames(22)[1]
    private = {label: key(label).private_bytes_raw().hex() for label in ("first", "second")}
    return {
        "about": ABOUT.split("\n")[:-1],
        "keys": {
            one: {"private": private[one], "public": octets(key(one)).hex(), "id": name_of(key(one))} for one in private
        },
        "texts": {
            "event": {**event, "before": trail.rows[0]["hash"]},
            "checkpoint": {**checkpoint, "sha256": sha256(checkpoint["text"])},
            "key": change,
            "seal": trail.others[0],
            "seed": {"organization": 7, "seed": sha256("organization 7")},
        },
        "frame": {"line": line_of("br-1", frame), "row": row_of(frame).hex()},
        "bundle": trail.lines(frames=ASKED),
    }


def text() -> str:
    return json.dumps(document(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(text())
