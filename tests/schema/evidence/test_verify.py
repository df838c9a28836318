"""verify.py: what was tampered with is found, and named."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from schema.evidence import verify
from schema.evidence.keys import public_pem
from tests.evidence_tampering import TAMPERINGS, Lines, chained, of
from tests.evidence_vectors import ASKED, PDF, Trail, b64, document, example, key, octets, text

COMMITTED = Path(__file__).parents[3] / "docs" / "evidence-vectors.json"


def within(arguments: list[str]) -> tuple[int, str]:
    """Run the program in this process, which takes a hundredth of the time."""
    with pytest.MonkeyPatch.context() as patched, redirect_stdout(StringIO()) as said:
        patched.setattr(sys, "argv", [verify.__file__, *arguments])
        return verify.main(), said.getvalue()


def by_itself(arguments: list[str]) -> tuple[int, str]:
    """Run the program as an auditor runs it, with nothing of ours beside it."""
    done = subprocess.run(
        [sys.executable, "-I", verify.__file__, *arguments], capture_output=True, text=True, check=False
    )
    assert not done.stderr, done.stderr
    return done.returncode, done.stdout


def verified(
    directory: Path,
    lines: Sequence[dict[str, Any]],
    *more: Path,
    trusted: str | None = "first",
    run: Callable[[list[str]], tuple[int, str]] = within,
) -> tuple[int, str]:
    """Run the program on a bundle of these lines; return its status and what it says."""
    bundle = directory / "br-1.evidence.jsonl"
    bundle.write_text("".join(json.dumps(line) + "\n" for line in lines))
    arguments = [str(bundle), *map(str, more)]
    if trusted is not None:
        (directory / "public.pem").write_text(public_pem(key(trusted)))
        arguments += ["--key", str(directory / "public.pem")]
    return run(arguments)


def whole() -> Lines:
    return copy.deepcopy(example().lines(frames=ASKED))


def test_the_vectors_are_those_of_the_document(tmp_path: Path) -> None:
    assert COMMITTED.read_text() == text(), "run: python -m tests.evidence_vectors > docs/evidence-vectors.json"
    (tmp_path / "report-12.pdf").write_bytes(PDF)
    status, said = verified(tmp_path, document()["bundle"], tmp_path / "report-12.pdf", run=by_itself)
    assert status == 0, said
    assert "rows 1 to 10 are certain: checkpoint 4" in said
    assert "3 hours of frames were compared with 3 sealed ones" in said
    assert "report-12.pdf is the file that row 9 names" in said
    signed = "signature of Eva Example (eva@example.com, approved) on sample/S-7: version 1 was signed"
    assert f"{signed}; now version 2 (approved)\n" in said
    assert "on report/12" not in said, "nothing has become of it since"


@pytest.mark.parametrize("name", TAMPERINGS)
def test_what_is_tampered_with_is_named(name: str, tmp_path: Path) -> None:
    change, finding = TAMPERINGS[name]
    lines = whole()
    change(lines)
    status, said = verified(tmp_path, lines)
    assert re.search(finding, said), said
    assert status == (3 if name == "all_checkpoints_are_taken_out" else 1), said


def test_a_changed_file_is_told_from_the_one_that_was_made(tmp_path: Path) -> None:
    (tmp_path / "report-12.pdf").write_bytes(PDF.replace(b"reported", b"wanted"))
    status, said = verified(tmp_path, whole(), tmp_path / "report-12.pdf")
    assert (status, "! report-12.pdf: no row of the evidence names a file with this content" in said) == (1, True), said


def test_a_copy_of_a_file_with_pages_behind_it_is_told_from_a_changed_one(tmp_path: Path) -> None:
    trail = example()
    original = b"%PDF-1.7 of a run\nstartxref\n9\n%%EOF\n"
    trail.file("report-13.pdf", original)
    trail.checkpoint()
    copy_ = tmp_path / "report-13-signed.pdf"
    copy_.write_bytes(original + b"42 0 obj\nendobj\nstartxref\n40\n%%EOF\n")
    status, said = verified(tmp_path, trail.lines(frames=ASKED), copy_)
    assert "report-13-signed.pdf begins with the file that row 11 names, its first 36 bytes\n" in said, said
    assert (status, "? report-13-signed.pdf: the pages that follow its first 36 bytes" in said) == (3, True)
    copy_.write_bytes(copy_.read_bytes().replace(b"a run", b"no run"))
    assert verified(tmp_path, trail.lines(frames=ASKED), copy_)[0] == 1


def test_a_trail_that_was_recomputed_and_signed_anew_fails_with_the_key_that_was_kept(tmp_path: Path) -> None:
    forged = Trail(signer=key("forger"))
    for number in range(5):
        forged.row("alarm rule put", f"alarm-rule/r{number}")
    forged.checkpoint()
    status, said = verified(tmp_path, forged.lines(), trusted=None)
    assert (status, "no key was given" in said) == (3, True), said
    status, said = verified(tmp_path, forged.lines())
    assert status == 1
    assert "no trusted key vouches for" in said


def test_checkpoints_that_were_kept_elsewhere_tell_a_fork_and_a_missing_end(tmp_path: Path) -> None:
    kept = tmp_path / "kept.jsonl"
    kept.write_text("".join(json.dumps(line) + "\n" for line in example().checkpoints))
    other = Trail()
    for number in range(3):
        other.row("alarm rule put", f"alarm-rule/other{number}")
    other.checkpoint()
    _, said = verified(tmp_path, other.lines(), kept)
    assert "checkpoint 1 is there twice, with different content: the trail was forked" in said
    lines = whole()
    cut = [one for one in lines if one["kind"] != "checkpoint" and one.get("n", 0) <= 5]
    of(cut, "head")[0].update(events=[[1, 5]], frames=[])
    _, said = verified(tmp_path, cut, kept)
    assert "rows 6 to 10 are missing at the end: checkpoint 4 signed them" in said


def test_a_row_that_was_appended_with_an_old_date_is_named(tmp_path: Path) -> None:
    trail = Trail()
    trail.row("alarm rule put", "alarm-rule/a")
    trail.checkpoint()
    trail.now = 5000
    trail.row("alarm rule put", "alarm-rule/b")
    trail.checkpoint()
    trail.now = 100  # the row says a time before the one before it
    trail.row("alarm rule put", "alarm-rule/c")
    trail.now = 90_000
    trail.checkpoint()
    status, said = verified(tmp_path, trail.lines())
    assert status == 1
    assert "! row 3 says an earlier time than row 2: it is back-dated" in said
    assert re.search(r"\? row 3 was signed 8989\d s after the time that it says, by checkpoint 3", said), said


def test_an_organization_has_a_seed_of_its_own(tmp_path: Path) -> None:
    trail = Trail(organization=7)
    trail.row("log in", "user/eva")
    trail.checkpoint()
    lines = trail.lines()
    assert verified(tmp_path, lines)[0] == 0
    of(lines, "head")[0]["organization"] = 1
    assert verified(tmp_path, lines)[0] == 1


def test_an_excerpt_says_which_rows_it_has_and_frames_may_be_dropped(tmp_path: Path) -> None:
    trail = example()
    times = {"from": "2026-11-30T00:00:00+00:00", "to": "2026-12-01T00:00:00+00:00"}
    trail.row("retention drop", "retention/frame", {**times, "rows": 10}, "retention")
    trail.checkpoint()
    lines = copy.deepcopy(trail.lines(frames=ASKED))
    rows = of(lines, "event")
    for row in rows[1:4]:
        lines.remove(row)
    rows[4]["before"] = rows[3]["hash"]
    of(lines, "head")[0].update(events=[[1, 1], [5, 11]], whole=False)
    for frame in of(lines, "frame")[-2:]:
        lines.remove(frame)
    status, said = verified(tmp_path, lines)
    assert status == 3, said
    assert "? rows 1 are signed by no checkpoint" in said
    assert "rows 5 to 11 are certain" in said
    assert "? br-2, hour 2026-11-30T22:00:00Z: retention has dropped frames" in said


def test_evidence_that_cannot_be_used_is_refused_with_status_2(tmp_path: Path) -> None:
    assert verified(tmp_path, [])[0] == 2
    status, said = verified(tmp_path, [], tmp_path / "nowhere.pdf")
    assert (status, said.startswith("cannot be checked: ")) == (2, True)


def test_signatures_are_verified_as_rfc_8032_has_it() -> None:
    """Its first three vectors of section 7.1, and what must be refused."""
    for public, message, signature in (
        (
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe2"
            "4655141438e7a100b",
        ),
        (
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "r",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aee"
            "b00d291612bb0c00",
        ),
    ):
        encoded = b64(bytes.fromhex(signature))
        of_key = verify.Key(bytes.fromhex(public))
        assert of_key.has_signed(message, encoded)
        assert not of_key.has_signed(message + "x", encoded)
        s = int.from_bytes(bytes.fromhex(signature)[32:], "little") + verify.ORDER
        malleable = bytes.fromhex(signature)[:32] + s.to_bytes(32, "little")
        assert not of_key.has_signed(message, b64(malleable))
    with pytest.raises(ValueError, match="no point"):
        verify.decompressed(b"\2" + bytes(31))


def test_a_thousand_signatures_take_a_second_or_so() -> None:
    signer = Ed25519PrivateKey.generate()
    of_key = verify.Key(octets(signer))
    signatures = [b64(signer.sign(str(n).encode())) for n in range(500)]
    begun = time.process_time()
    assert all(of_key.has_signed(str(n), one) for n, one in enumerate(signatures))
    assert time.process_time() - begun < 2, "a year of checkpoints, half a million, would take too long"


def test_nothing_that_chains_alone_passes(tmp_path: Path) -> None:
    lines = whole()
    chained(lines)
    assert verified(tmp_path, lines)[0] == 0, "computing the same hashes again changes nothing"
