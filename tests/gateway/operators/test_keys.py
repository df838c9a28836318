"""`biogate keys`: the key that signs is shown and changed, and what a person says to the process reaches it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from deploy.stack.paths import BIOGATE
from schema.evidence.key_files import asked_to_resume, load_keys, make_first


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    given = {**os.environ, **environment}
    return subprocess.run([*BIOGATE, "keys", *words], env=given, capture_output=True, text=True, check=False)


def test_a_key_is_changed_and_both_are_shown(tmp_path: Path) -> None:
    make_first(tmp_path)
    first = load_keys(tmp_path).ring.newest
    said = run("change", str(tmp_path))
    assert said.returncode == 0, said.stderr
    newest = load_keys(tmp_path).ring.newest
    assert said.stdout.startswith(f"{newest} takes over from {first}; ")
    shown = run("show", BIOGATE_EVIDENCE_DIR=str(tmp_path)).stdout
    assert shown.startswith(f"{first}\tthe first\n{newest}\tafter {first}\n-----BEGIN PUBLIC KEY-----\n")
    assert "PRIVATE" not in shown
    (tmp_path / "key.pem").chmod(0o640)
    refused = run("show", str(tmp_path))
    assert (refused.returncode, refused.stderr) == (
        1,
        f"{tmp_path / 'key.pem'} is open to others (mode 640): chmod go= {tmp_path / 'key.pem'}\n",
    )


def test_to_go_on_is_said_with_person_and_reason(tmp_path: Path, database_url: str) -> None:
    words = ("resume", str(tmp_path), "--who", "eva", "--why", "restored")
    assert run(*words, BIOGATE_DATABASE_URL=database_url).returncode == 0
    assert asked_to_resume(tmp_path, 1) == ("eva", "restored")
    other = run(*words, "--organization", "x", BIOGATE_DATABASE_URL=database_url)
    assert (other.returncode, other.stderr) == (1, "there is no organization x\n")
