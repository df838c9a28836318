"""Twenty-odd ways to tamper with the lines of a bundle, and what a verifier has to say of each."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from typing import Any, TypeAlias

from tests.evidence_vectors import b64, canonical, key, name_of

Lines: TypeAlias = list[dict[str, Any]]
Change: TypeAlias = Callable[[Lines], None]
TAMPERINGS: dict[str, tuple[Change, str]] = {}
"""By name: what is done to the lines, and a pattern of the finding."""


def tampering(finding: str) -> Callable[[Change], Change]:
    def register(change: Change) -> Change:
        TAMPERINGS[change.__name__] = change, finding
        return change

    return register


def of(lines: Lines, kind: str) -> Lines:
    return [one for one in lines if one["kind"] == kind]


def chained(lines: Lines) -> None:
    """Compute the numbers and hashes of all rows again, as who owns the database can."""
    before = b""
    for n, line in enumerate(of(lines, "event"), 1):
        row = line["text"].partition(",")[2]
        line.update(n=n, text=f"[{n},{row}")
        line["hash"] = hashlib.sha256(before + line["text"].encode()).hexdigest()
        before = bytes.fromhex(line["hash"])
    of(lines, "head")[0]["events"] = [[1, len(of(lines, "event"))]]


def said(line: dict[str, Any], **changed: Any) -> None:
    line["text"] = canonical({**json.loads(line["text"]), **changed})


@tampering(r"row 3 \(eva@example.com: alarm rule put alarm-rule/r2\) is not what its hash says")
def a_row_is_changed(lines: Lines) -> None:
    of(lines, "event")[2]["text"] = of(lines, "event")[2]["text"].replace('"limit": 2', '"limit": 9')


@tampering(r"row 5 is not the one that checkpoint 1 signed .* none is as it was")
def a_row_is_changed_and_the_chain_computed_again(lines: Lines) -> None:
    of(lines, "event")[2]["text"] = of(lines, "event")[2]["text"].replace('"limit": 2', '"limit": 9')
    chained(lines)


@tampering(r"row 7 is not the one that checkpoint 3 signed .* row 6, which checkpoint 2 signed, is as it was")
def a_later_row_is_changed_and_the_chain_computed_again(lines: Lines) -> None:
    of(lines, "event")[6]["text"] = of(lines, "event")[6]["text"].replace("as the test says", "as somebody else says")
    chained(lines)


@tampering(r"rows 4 are missing")
def a_row_is_deleted(lines: Lines) -> None:
    lines.remove(of(lines, "event")[3])


@tampering(r"row 5 is not the one that checkpoint 1 signed")
def a_row_is_deleted_and_the_chain_computed_again(lines: Lines) -> None:
    lines.remove(of(lines, "event")[3])
    chained(lines)


@tampering(r"row 5 is not the one that checkpoint 1 signed")
def a_row_is_inserted_and_the_chain_computed_again(lines: Lines) -> None:
    place = lines.index(of(lines, "event")[2])
    lines.insert(place, {**lines[place], "text": lines[place]["text"].replace("r2", "r9")})
    chained(lines)


@tampering(r"row 2 \(.* is not what its hash says")
def a_row_is_back_dated(lines: Lines) -> None:
    row = of(lines, "event")[1]
    row["text"] = row["text"].replace("[2, 179", "[2, 178")


@tampering(r"row 3 .* is not what its hash says")
def two_rows_change_their_places(lines: Lines) -> None:
    one, other = of(lines, "event")[2:4]
    one["text"], other["text"] = other["text"].replace("[4,", "[3,"), one["text"].replace("[3,", "[4,")


@tampering(r"rows 8 to 10 are missing at the end: checkpoint 4 signed them")
def the_end_is_cut_off(lines: Lines) -> None:
    for row in of(lines, "event")[7:]:
        lines.remove(row)
    of(lines, "head")[0]["events"] = [[1, 7]]


@tampering(r"checkpoint 2 of .* \(row 5\) is not signed by key")
def a_checkpoint_is_changed(lines: Lines) -> None:
    said(of(lines, "checkpoint")[1], n=5)


@tampering(r"checkpoint 1 .* is not signed by key")
def a_signature_is_changed(lines: Lines) -> None:
    checkpoint = of(lines, "checkpoint")[0]
    octets = bytearray(base64.b64decode(checkpoint["signature"]))
    octets[40] ^= 1
    checkpoint["signature"] = b64(bytes(octets))


@tampering(r"checkpoint 4: no trusted key vouches for key")
def a_checkpoint_is_signed_by_a_stranger(lines: Lines) -> None:
    checkpoint = of(lines, "checkpoint")[3]
    said(checkpoint, key=name_of(key("stranger")))
    checkpoint["signature"] = b64(key("stranger").sign(checkpoint["text"].encode()))


@tampering(r"key .*: no trusted key vouches for it")
def a_key_takes_over_by_itself(lines: Lines) -> None:
    change = of(lines, "key")[1]
    change["signature_before"] = change["signature"]


@tampering(r"rows 1 to 10 are signed by no checkpoint")
def all_checkpoints_are_taken_out(lines: Lines) -> None:
    for checkpoint in of(lines, "checkpoint"):
        lines.remove(checkpoint)


@tampering(r"br-1, hour 2026-11-30T23:00:00Z: not the 4 frames that version 1 sealed: one was changed")
def a_value_is_changed(lines: Lines) -> None:
    of(lines, "frame")[4]["values"][0] += 1e-12


@tampering(r"br-1, hour 2026-11-30T23:00:00Z: not the 4 frames that version 1 sealed: one was changed")
def a_quality_is_made_good(lines: Lines) -> None:
    of(lines, "frame")[5]["quality"] = [0, 0, 1]


@tampering(r"br-2, hour 2026-11-30T22:00:00Z: not the 2 frames that version 1 sealed: 1 are missing")
def a_frame_is_deleted(lines: Lines) -> None:
    lines.remove(of(lines, "frame")[-1])


@tampering(r"br-2, hour 2026-11-30T22:00:00Z: not the 2 frames that version 1 sealed: 2 are missing")
def all_frames_of_an_hour_are_deleted(lines: Lines) -> None:
    for frame in of(lines, "frame")[-2:]:
        lines.remove(frame)


@tampering(r"br-1, hour 2026-11-30T22:00:00Z: not the 4 frames that version 2 sealed: 1 were inserted")
def a_frame_is_inserted(lines: Lines) -> None:
    frame = of(lines, "frame")[3]
    lines.insert(lines.index(frame), {**frame, "time": "2026-11-30T22:50:00.000000Z"})


@tampering(r"br-1, hour 2026-11-30T22:00:00Z: not the 3 frames that version 1 sealed")
def the_time_of_receipt_is_changed(lines: Lines) -> None:
    of(lines, "frame")[0]["received"] = "2026-11-30T22:00:00.000000Z"


@tampering(r"br-1, hour 2026-11-30T23:00:00Z: not the 4 frames that version 1 sealed")
def a_unit_is_changed(lines: Lines) -> None:
    for seal in of(lines, "seal"):
        seal["layouts"] = seal["layouts"].replace("°C", "K")


@tampering(r"br-2, hour 2026-11-30T22:00:00Z: no row of the evidence vouches for version 1 of its seal")
def frames_and_their_seal_are_changed(lines: Lines) -> None:
    [seal] = [one for one in of(lines, "seal") if "br-2" in one["text"]]
    said(seal, frames=1)


@tampering(r"br-2, hour 2026-11-30T22:00:00Z: a seal is missing, of which a row of the trail tells")
def a_seal_is_deleted_with_its_frames(lines: Lines) -> None:
    for one in [one for one in lines if one["kind"] in ("seal", "frame") and "br-2" in str(one)]:
        lines.remove(one)


@tampering(r"signature of Eva Example .* on report/12: no row of the evidence has it")
def a_signature_gets_another_meaning(lines: Lines) -> None:
    said(of(lines, "signature")[0], meaning="reviewed")


@tampering(r"signature of Eva Example .* on report/12 is broken: what was signed was changed")
def a_signed_record_is_changed(lines: Lines) -> None:
    of(lines, "signature")[0]["content"] = '{"report":13}'


@tampering(r"signature of Eva Example .* on sample/S-7 is broken: what was signed was changed")
def a_former_version_that_was_signed_is_changed(lines: Lines) -> None:
    signature = of(lines, "signature")[1]
    signature["content"] = signature["content"].replace("measured", "approved")


@tampering(r"report-12.pdf: no row of the evidence names this file")
def a_file_is_replaced_with_its_line(lines: Lines) -> None:
    of(lines, "file")[0]["sha256"] = hashlib.sha256(b"%PDF-1.7 as somebody wants it").hexdigest()


@tampering(r"no evidence that can be read")
def a_line_is_broken(lines: Lines) -> None:
    del of(lines, "event")[2]["text"]
