"""Of which stack `biogate restart` ends parts."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy import restart
from deploy.restart import chosen
from deploy.stack.errors import StackError


@pytest.mark.parametrize(
    ("running", "asked", "expected"),
    [
        (["main"], None, "main"),
        (["main", "north"], None, "main"),
        (["north"], None, "north"),
        (["main", "north"], "north", "north"),
    ],
)
def test_it_is_the_one_that_is_named_or_that_runs(running: list[str], asked: str | None, expected: str) -> None:
    assert chosen(running, asked) == expected


@pytest.mark.parametrize(
    ("running", "asked", "said"),
    [
        ([], None, "`biogate up` does not run: nobody would start it again"),
        (["east", "north"], None, "several stacks run: say of which one; `--name` can be east, north"),
        (["north"], "nroth", "`biogate up --name nroth` does not run: .*`--name` can be north"),
    ],
)
def test_the_names_are_told_where_none_is_meant(running: list[str], asked: str | None, said: str) -> None:
    with pytest.raises(StackError, match=said):
        chosen(running, asked)


@pytest.fixture
def locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(restart, "STACK", tmp_path)
    return tmp_path / "run"


def test_a_stack_runs_if_somebody_holds_its_lock(locks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("north", "dead", "main"):
        (locks / name).mkdir(parents=True)
        (locks / name / "stack.lock").touch()
    monkeypatch.setattr(restart, "holders", lambda lock: [] if lock.parent.name == "dead" else [1])
    assert restart.running() == ["main", "north"]
