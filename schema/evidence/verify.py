"""Checks evidence that Biogate has given out, with nothing but Python 3.9 and the public key.

    python verify.py --key public.pem BUNDLE.evidence.jsonl [MORE.jsonl ...] [FILE ...]

A file whose name ends in .jsonl is evidence: a bundle, or checkpoints that were kept elsewhere. Any other file has to
be one that the evidence names. docs/evidence.md has the formats and says what each finding means. Status: 0 all is as
it was signed; 1 something is not; 2 it cannot be checked; 3 nothing is wrong, but not everything is certain.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import struct
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple, Tuple

# Ed25519: RFC 8032, section 5.1. Nothing here is secret, so nothing needs to take the same time for every input.
P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
ROOT = pow(2, (P - 1) // 4, P)  # of -1
Point = Tuple[int, int, int, int]
"""Extended coordinates: x = X/Z, y = Y/Z, x * y = T/Z."""
NEUTRAL: Point = (0, 1, 1, 0)


def decompressed(octets: bytes) -> tuple[int, int]:
    """Return (x, y) of the point that 32 bytes stand for (5.1.3). Raises ValueError."""
    y = int.from_bytes(octets, "little") & (2**255 - 1)
    u, v = (y * y - 1) % P, (D * y * y + 1) % P
    x = u * pow(v, 3, P) * pow(u * pow(v, 7, P), (P - 5) // 8, P) % P
    if (v * x * x + u) % P == 0:
        x = x * ROOT % P
    if len(octets) != 32 or y >= P or (v * x * x - u) % P:
        raise ValueError("no point of the curve")
    return (x if x & 1 == octets[31] >> 7 else P - x), y


def added(a: Point, b: tuple[int, int, int]) -> Point:
    """Add (5.1.4) a point and one of a table: (y - x, y + x, 2dxy)."""
    x, y, z, t = a
    e, f = (y - x) * b[0] % P, (y + x) * b[1] % P
    g, h = t * b[2] % P, 2 * z
    e, f, g, h = f - e, h - g, h + g, f + e
    return e * f % P, g * h % P, f * g % P, e * h % P


def in_table(x: int, y: int) -> tuple[int, int, int]:
    return (y - x) % P, (y + x) % P, 2 * D * x * y % P


def affine(points: list[Point]) -> list[tuple[int, int]]:
    """Return (x, y) of points, with one inversion for all of them (Montgomery)."""
    products = [1]
    for point in points:
        products.append(products[-1] * point[2] % P)
    found, inverse = [], pow(products.pop(), -1, P)
    for x, y, z, _ in reversed(points):
        one_z = inverse * products.pop() % P
        inverse = inverse * z % P
        found.append((x * one_z % P, y * one_z % P))
    return found[::-1]


def multiples(x: int, y: int) -> list[list[tuple[int, int, int]]]:
    """Return j * 256^i times a point, i below 32 and j below 256: any multiple of it is a sum of 32 of them."""
    table = []
    for _ in range(32):
        step, row = in_table(x, y), [NEUTRAL]
        for _ in range(256):
            row.append(added(row[-1], step))
        *known, (x, y) = affine(row)
        table.append([in_table(*one) for one in known])
    return table


BASE = multiples(*decompressed((4 * pow(5, -1, P) % P).to_bytes(32, "little")))


class Key:
    """A public key. It is named by the first 16 hexadecimal digits of the SHA-256 of its 32 bytes."""

    def __init__(self, octets: bytes) -> None:
        self.octets, self.name = octets, hashlib.sha256(octets).hexdigest()[:16]
        x, y = decompressed(octets)
        self._negative = multiples(P - x, y)

    def has_signed(self, text: str, signature: str) -> bool:
        """Verify a signature in base64 over the UTF-8 bytes of a text (5.1.7)."""
        octets, message = base64.b64decode(signature), text.encode()
        s = octets[32:]
        if len(octets) != 64 or int.from_bytes(s, "little") >= ORDER:
            return False
        k = int.from_bytes(hashlib.sha512(octets[:32] + self.octets + message).digest(), "little") % ORDER
        point = NEUTRAL
        for scalar, table in ((s, BASE), (k.to_bytes(32, "little"), self._negative)):
            for digit, row in zip(scalar, table):
                point = added(point, row[digit])
        [(x, y)] = affine([point])
        return (y | (x & 1) << 255).to_bytes(32, "little") == octets[:32]


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def canonical(content: Any) -> str:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def ranges(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Return the first and the last of each unbroken sequence among numbers."""
    found: list[tuple[int, int]] = []
    for n in sorted(numbers):
        found[-1:] = [(found[-1][0], n)] if found and found[-1][1] == n - 1 else [*found[-1:], (n, n)]
    return found


def listed(numbers: Iterable[int]) -> str:
    return ", ".join(str(a) if a == b else f"{a} to {b}" for a, b in ranges(numbers))


def microseconds(instant: str) -> int:
    """Return a time like 2026-11-30T22:00:00.000000Z as PostgreSQL counts it, from the year 2000."""
    return (datetime.fromisoformat(instant[:-1]) - datetime(2000, 1, 1)) // timedelta(microseconds=1)


def seconds(instant: str) -> float:
    return datetime.fromisoformat(instant.replace("Z", "+00:00")).timestamp()


def seal_name(hour: str, version: int) -> str:
    """Return how the row of a pass names a seal: 2026-11-30T22, and 2026-11-30T22/2 for a second version."""
    return hour[:13] + (f"/{version}" if version > 1 else "")


def field(content: bytes | None) -> bytes:
    return b"\xff\xff\xff\xff" if content is None else struct.pack(">i", len(content)) + content


def array(kind: str, oid: int, items: list[Any]) -> bytes:
    """Return a one-dimensional array as PostgreSQL sends it: "d", 701 for float8; "h", 21 for int2."""
    elements = b"".join(field(None if one is None else struct.pack(">" + kind, one)) for one in items)
    return struct.pack(">iiiii", 1, None in items, oid, len(items), 1) + elements


def copied(frame: dict[str, Any]) -> bytes:
    """Return a frame as COPY ... (format binary) gives its row: what the digest of a seal is made of."""
    boot, seq, quality = frame["boot"], frame["seq"], frame["quality"]
    return b"\0\7" + b"".join(
        (
            field(struct.pack(">q", microseconds(frame["time"]))),
            field(struct.pack(">i", frame["layout"])),
            field(struct.pack(">q", microseconds(frame["received"]))),
            field(None if boot is None else struct.pack(">q", boot)),
            field(None if seq is None else struct.pack(">q", seq)),
            field(array("d", 701, frame["values"])),
            field(None if quality is None else array("h", 21, quality)),
        )
    )


class Signed(NamedTuple):
    """What a checkpoint says that its key has signed; `own` is the digest of its text. A year has half a million."""

    n: int
    hash: str
    at: str
    before: str
    own: str
    key: str


class Evidence:
    """What the lines say, and what is wrong with it. Keys stand before what they signed, seals before their frames."""

    LATE_S = 900.0

    def __init__(self, given: list[Key]) -> None:
        self.wrong: list[str] = []
        self.doubts: list[str] = []
        self.keys = {key.name: key for key in given}
        self.known = dict(self.keys)
        self.changes: list[tuple[dict[str, Any], dict[str, Any]]] = []
        self.heads: list[dict[str, Any]] = []
        self.rows: dict[int, tuple[str, float]] = {}  # n: hash, time
        self.vouching: dict[int, list[Any]] = {}  # n: a row about seals, or a signature
        self.files: dict[str, int] = {}  # SHA-256: n of the row that names it
        self.names: dict[str, str] = {}  # of a file: SHA-256
        self.checkpoints: dict[int, Signed] = {}  # by number
        self.certain: dict[int, tuple[int, int]] = {}  # first row: last row, number of the checkpoint
        self.seals: dict[tuple[str, str], list[dict[str, Any]]] = {}  # device, hour: all versions
        self.hour = "", ""
        self.frames: list[dict[str, Any]] = []  # of that device and hour
        self.compared: set[tuple[str, str]] = set()  # hours whose frames were
        self.drops: list[tuple[float, float, float]] = []  # from, to, when: of frames, by retention
        self.signatures: list[dict[str, Any]] = []
        self.superseded: list[str] = []  # what was signed is as it was, and the record has a later version
        self.take: dict[str, Callable[[dict[str, Any]], None]] = {
            **{"head": self.take_head, "key": self.take_key, "event": self.take_event, "seal": self.take_seal},
            **{"checkpoint": self.take_checkpoint, "frame": self.take_frame, "file": self.take_file},
            "signature": self.signatures.append,
        }

    def read(self, path: Path) -> None:
        """Take all lines of a file."""
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    said = json.loads(line)
                    self.take[said["kind"]](said)
                except (ValueError, KeyError, TypeError, AttributeError, IndexError, struct.error) as error:
                    self.wrong.append(f"{path.name}, line {number}: no evidence that can be read: {error!r}")

    def take_head(self, said: dict[str, Any]) -> None:
        if said["format"] != "biogate evidence 1":
            raise ValueError(f"this program does not know {said['format']}")
        self.heads.append(said)

    def take_file(self, said: dict[str, Any]) -> None:
        self.names[said["name"]] = said["sha256"]

    def take_key(self, said: dict[str, Any]) -> None:
        """Trust each key that a trusted one vouches for: both have signed the text by which one follows the other."""
        change = json.loads(said["text"])
        new = Key(base64.b64decode(change["public"]))
        if new.name != change["key"] or change["kind"] != "biogate key 1":
            raise ValueError("its name is not that of the key")
        self.known.setdefault(new.name, new)
        self.changes.append((change, said))
        if not self.keys:
            self.keys[new.name] = new  # none was given: the summary says so
        for _ in self.changes:
            for one, signed in self.changes:
                pair = [name for name in (one["before"], one["key"]) if name in self.known]
                if len(pair) == 2 and (pair[0] in self.keys) != (pair[1] in self.keys) and self._by_both(pair, signed):
                    self.keys.update({name: self.known[name] for name in pair})

    def _by_both(self, pair: list[str], said: dict[str, Any]) -> bool:
        signatures = said["signature_before"] or "", said["signature"]
        return all(self.known[name].has_signed(said["text"], one) for name, one in zip(pair, signatures))

    def take_event(self, said: dict[str, Any]) -> None:
        """Hold a row against its hash, which covers the hash of the row before."""
        row, n, claimed = json.loads(said["text"]), said["n"], said["hash"]
        before = self.rows[n - 1][0] if n - 1 in self.rows else said.get("before")
        if n == 1:
            organization = self.heads[0]["organization"]
            before = "" if organization == 1 else digest(f"organization {organization}")
        if before is None:
            self.wrong.append(f"row {n}: the row before it is missing")
        elif row[0] != n or hashlib.sha256(bytes.fromhex(before) + said["text"].encode()).hexdigest() != claimed:
            self.wrong.append(f"row {n} ({row[3]}: {row[4]} {row[5]}) is not what its hash says: it was changed")
        if n in self.rows and self.rows[n][0] != claimed:
            self.wrong.append(f"row {n} is there twice, with different content")
        self.rows[n] = sys.intern(claimed), float(row[1])
        new = row[7] if isinstance(row[7], dict) else {}
        self.files.update({value: n for name, value in new.items() if name.endswith("sha256")})
        if row[4] in ("seal", "signature"):
            self.vouching[n] = row
        if row[4:6] == ["retention drop", "retention/frame"]:
            self.drops.append((seconds(new["from"]), seconds(new["to"]), float(row[1])))

    def take_checkpoint(self, said: dict[str, Any]) -> None:
        says = json.loads(said["text"])
        key, number, own = self.keys.get(says["key"]), says["number"], sys.intern(digest(said["text"]))
        if says["kind"] != "biogate checkpoint 1":
            raise ValueError("no checkpoint")
        if says["organization"] != self.heads[0]["organization"]:  # the file of checkpoints has those of all
            if key is None or not key.has_signed(said["text"], said["signature"]):
                raise ValueError("no checkpoint of this organization")
            return
        of_row, before = sys.intern(says["hash"]), sys.intern(says["before"])
        if key is None:
            self.wrong.append(f"checkpoint {number}: no trusted key vouches for key {says['key']}, which signed it")
        elif not key.has_signed(said["text"], said["signature"]):
            self.wrong.append(f"checkpoint {number} of {says['at']} (row {says['n']}) is not signed by key {key.name}")
        elif (
            self.checkpoints.setdefault(number, Signed(says["n"], of_row, says["at"], before, own, key.name)).own != own
        ):
            self.wrong.append(f"checkpoint {number} is there twice, with different content: the trail was forked")
        if said.get("token") and bytes.fromhex(own) not in base64.b64decode(said["token"]):
            self.wrong.append(f"checkpoint {number}: its time stamp is one of another text")

    def take_seal(self, said: dict[str, Any]) -> None:
        seal = {**said, **json.loads(said["text"]), "own": digest(said["text"])}
        if seal["kind"] != "biogate seal 1":
            raise ValueError("no seal")
        self.seals.setdefault((seal["device"], seal["hour"]), []).append(seal)

    def take_frame(self, said: dict[str, Any]) -> None:
        hour = said["device"], said["time"][:13] + ":00:00Z"
        if hour != self.hour:
            self._judge_hour()
            self.hour = hour
        self.frames.append(said)

    def judge(self) -> None:
        """Compare what was taken: rows with checkpoints, seals with rows and frames, signatures and files with rows."""
        self._judge_hour()
        unvouched = [change["key"] for change, _ in self.changes if change["key"] not in self.keys]
        self.wrong += [f"key {name}: no trusted key vouches for it" for name in unvouched]
        self._judge_checkpoints()
        self._judge_rows()
        self._judge_seals()
        self._judge_signatures()
        for name, said in self.names.items():
            if said not in self.files:
                self.wrong.append(f"{name}: no row of the evidence names this file")

    def _judge_checkpoints(self) -> None:
        """Each goes on from the one before it, and has signed the row that is there now."""
        good = first_bad = 0
        for number, now in sorted(self.checkpoints.items()):
            last = self.checkpoints.get(number - 1)
            if last and not (now.before == last.own and now.n >= last.n and now.at >= last.at):
                self.wrong.append(f"checkpoint {number} does not go on from checkpoint {number - 1}")
            row = self.rows.get(now.n)
            if row and row[0] == now.hash:
                good = number
                self._judge_delay(number, last, now)
            elif row and not first_bad:
                first_bad = number
                known = f"row {self.checkpoints[good].n}, which checkpoint {good} signed, is" if good else "none is"
                self.wrong.append(
                    f"row {now.n} is not the one that checkpoint {number} signed at {now.at}: it, or rows before "
                    f"it, were changed, inserted or taken out, and their hashes computed again; {known} as it was"
                )

    def _judge_delay(self, number: int, last: Signed | None, now: Signed) -> None:
        """Doubt the time of rows that were signed long after the time that they say."""
        first = self.rows.get(last.n + 1) if last and last.n < now.n else None
        if last and first and seconds(now.at) - first[1] > self.LATE_S:
            self.doubts.append(
                f"row {last.n + 1} was signed {seconds(now.at) - first[1]:.0f} s after the time that it says, by "
                f"checkpoint {number}: nobody signed for so long, or the row is back-dated"
            )

    def _judge_rows(self) -> None:
        """They are certain up to the last checkpoint of their unbroken sequence. None of the head is missing."""
        signed = {one.n: number for number, one in sorted(self.checkpoints.items())}
        for head in self.heads:
            gone = [n for first, last in head.get("events", []) for n in range(first, last + 1) if n not in self.rows]
            self.wrong += [f"rows {listed(gone)} are missing"] if gone else []
            last, end = max(self.rows, default=0), max(signed, default=0)
            if head.get("whole") and end > last:
                self.wrong.append(
                    f"rows {last + 1} to {end} are missing at the end: checkpoint {signed[end]} signed them"
                )
        unsigned: list[int] = []
        for first, last in ranges(self.rows):
            for n in range(first + 1, last + 1):
                if self.rows[n][1] < self.rows[n - 1][1]:
                    text = f"row {n} says an earlier time than row {n - 1}: it is back-dated"
                    (self.wrong if signed and n > min(signed) else self.doubts).append(text)
            good = [n for n in range(first, last + 1) if n in signed and self._holds(signed[n])]
            if good:
                self.certain[first] = good[-1], signed[good[-1]]
            unsigned += range(good[-1] + 1 if good else first, last + 1)
        if unsigned:
            self.doubts.append(f"rows {listed(unsigned)} are signed by no checkpoint of this evidence (yet)")

    def _holds(self, number: int) -> bool:
        checkpoint = self.checkpoints[number]
        return bool(self.rows[checkpoint.n][0] == checkpoint.hash)

    def _judge_hour(self) -> None:
        """Compute the digest of an hour for each version of its seal, from the frames that were stored until then."""
        (device, hour), frames = self.hour, sorted(self.frames, key=lambda one: (one["time"], one["layout"]))
        self.frames = []
        if not device:
            return
        if self.hour in self.compared:
            self.wrong.append(f"{device}, hour {hour}: its frames do not stand together")
        self.compared.add(self.hour)
        if self.hour not in self.seals:
            self.doubts.append(f"{device}, hour {hour}: its {len(frames)} frames are not sealed (yet)")
        self._compare(device, hour, frames)

    def _compare(self, device: str, hour: str, frames: list[dict[str, Any]]) -> None:
        for seal in self.seals.get((device, hour), []):
            stored = [one.get("stored", one["received"]) for one in frames]
            held = [copied(one) for one, at in zip(frames, stored) if at is not None and at <= seal["at"]]
            content = seal["layouts"].encode() + b"\nPGCOPY\n\xff\r\n\0" + bytes(8) + b"".join(held) + b"\xff\xff"
            named = f"{device}, hour {hour}"
            if hashlib.sha256(content).hexdigest() == seal["digest"]:
                continue
            if any(self._is_dropped(one, seal) for one in self.drops):
                self.doubts.append(
                    f"{named}: retention has dropped frames of it, so version {seal['version']} is not compared"
                )
            else:
                change = len(held) - seal["frames"]
                what = (
                    f"{-change} are missing"
                    if change < 0
                    else f"{change} were inserted"
                    if change
                    else "one was changed"
                )
                self.wrong.append(
                    f"{named}: not the {seal['frames']} frames that version {seal['version']} sealed: {what}"
                )

    def _is_dropped(self, drop: tuple[float, float, float], seal: dict[str, Any]) -> bool:
        begin, (first, last, at) = seconds(seal["hour"]), drop
        return first < begin + 3600 and last > begin and at > seconds(seal["at"])

    def _judge_seals(self) -> None:
        """The row of a pass vouches for its seals, and each version names the one before it; none is missing."""
        passes = [row[7] for row in self.vouching.values() if row[4] == "seal"]
        said = {(one["pass"], name): seals for one in passes for name, seals in one["devices"].items()}
        for (device, hour), seals in self.seals.items():
            named = f"{device}, hour {hour}"
            seals.sort(key=lambda one: int(one["version"]))
            for seal, last in zip(seals, [None, *seals]):
                version = seal["version"]
                if not seal["own"].startswith(said.get((seal["pass"], device), {}).get(seal_name(hour, version), "-")):
                    self.wrong.append(f"{named}: no row of the evidence vouches for version {version} of its seal")
                if (seal["before"], version) != ((last["own"], last["version"] + 1) if last else ("", 1)):
                    self.wrong.append(f"{named}: version {version} of its seal does not follow the one before it")
        for head in self.heads:
            for wanted in head.get("frames", []):
                device, begin, end = wanted["device"], wanted["from"][:13], wanted["to"][:13]
                made = {(n, name) for (n, of), seals in said.items() if of == device for name in seals}
                self._judge_wanted(device, {one for one in made if begin <= one[1][:13] < end})

    def _judge_wanted(self, device: str, made: set[tuple[int, str]]) -> None:
        """Of hours that the evidence is about: no seal that a row names is missing, nor all frames of an hour."""
        seals = [one for (name, _), versions in self.seals.items() if name == device for one in versions]
        there = {(one["pass"], seal_name(one["hour"], one["version"])) for one in seals}
        for _, name in sorted(made - there, key=lambda one: one[1]):
            self.wrong.append(
                f"{device}, hour {name[:13]}:00:00Z: a seal is missing, of which a row of the trail tells"
            )
        for hour in sorted({f"{name[:13]}:00:00Z" for _, name in made}):
            if (device, hour) not in self.compared:
                self._compare(device, hour, [])

    def _judge_signatures(self) -> None:
        """A row of the trail has each signature; what was signed is still what it was."""
        rows = {canonical(row[7]): n for n, row in self.vouching.items() if row[4] == "signature"}
        for said in self.signatures:
            says = json.loads(said["text"])
            named = f"signature of {says['name']} ({says['who']}, {says['meaning']}) on {says['record']}"
            if said["text"] not in rows:
                self.wrong.append(f"{named}: no row of the evidence has it")
            if "content" not in said:
                continue
            if said["content"] is None or digest(said["content"]) != says["digest"]:
                self.wrong.append(f"{named} is broken: what was signed was changed after it was signed")
            elif "now" in said:
                self._tell_of_newest(named, json.loads(said["content"]).get("version"), said["now"])

    def _tell_of_newest(self, named: str, version: Any, now: dict[str, Any] | None) -> None:
        if now is None:
            self.superseded.append(f"{named}: version {version} was signed; the record is not there any more")
        elif now["version"] != version:
            state = f" ({now['state']})" if now.get("state") else ""
            self.superseded.append(f"{named}: version {version} was signed; now version {now['version']}{state}")

    def judge_file(self, path: Path) -> str:
        """Find the row that names a file by its SHA-256; return what can be said of it."""
        content = path.read_bytes()
        found = [hashlib.sha256(content).hexdigest()]
        with suppress(ValueError):
            found.append(digest(canonical(json.loads(content))))  # a manifest may have been formatted
        n = next((self.files[one] for one in found if one in self.files), None)
        if n is None and (copied := self._original_of(content)):
            size, n = copied
            self.doubts.append(f"{path.name}: the pages that follow its first {size} bytes are compared with nothing")
            return f"{path.name} begins with the file that row {n} names, its first {size} bytes"
        if n is None or self.names.get(path.name, found[0]) not in found:
            self.wrong.append(f"{path.name}: no row of the evidence names a file with this content: it was changed")
            return ""
        return f"{path.name} is the file that row {n} names"

    def _original_of(self, content: bytes) -> tuple[int, int] | None:
        """Find the PDF to which pages with signatures were added: its size, and the row that names it."""
        end = content.find(b"%%EOF\n")
        while end >= 0:
            size = end + 6
            if (n := self.files.get(hashlib.sha256(content[:size]).hexdigest())) is not None:
                return size, n
            end = content.find(b"%%EOF\n", size)
        return None


def public_key(path: Path) -> Key:
    """Return the key in a file: PEM, or its 32 bytes in base64. Raises ValueError."""
    lines = [line for line in path.read_text().split() if "-" not in line and line not in ("BEGIN", "PUBLIC", "KEY")]
    return Key(base64.b64decode("".join(lines))[-32:])


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--key", type=Path, action="append", default=[], help="a public key that you had before; or several"
    )
    parser.add_argument(
        "paths", type=Path, nargs="+", metavar="FILE", help="evidence (.jsonl), and files that it names"
    )
    asked = parser.parse_args()
    try:
        evidence = Evidence([public_key(path) for path in asked.key])
        of_evidence = [path for path in asked.paths if path.name.endswith(".jsonl")]
        for path in of_evidence:
            evidence.read(path)
        if not evidence.heads:
            raise ValueError("none of the files is a bundle: its name ends in .evidence.jsonl")
        evidence.judge()
        said = [evidence.judge_file(path) for path in asked.paths if path not in of_evidence]
    except (OSError, ValueError) as error:
        print(f"cannot be checked: {error}")
        return 2
    for first, (last, number) in evidence.certain.items():
        checkpoint = evidence.checkpoints[number]
        said.append(f"rows {first} to {last} are certain: checkpoint {number}, {checkpoint.at}, key {checkpoint.key}")
    said += evidence.superseded
    if evidence.seals:
        said.append(f"{len(evidence.compared)} hours of frames were compared with {len(evidence.seals)} sealed ones")
    if not asked.key:
        evidence.doubts.append(f"no key was given: is {', '.join(evidence.keys) or 'none'} the key that you know?")
    for mark, lines in (("", said), ("? ", evidence.doubts), ("! ", evidence.wrong)):
        for line in filter(None, lines):
            print(mark + line)
    print("WRONG" if evidence.wrong else "not all is certain" if evidence.doubts else "all is as it was signed")
    return 1 if evidence.wrong else 3 if evidence.doubts else 0


if __name__ == "__main__":
    sys.exit(main())
