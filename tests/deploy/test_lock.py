"""The locks name every package that is installed, with hashes, and agree with pyproject.toml and one another."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from deploy import bootstrap, lock
from deploy.lock import DEVELOPMENT, LOCKS, RUNTIME, changes, environment, outdated, pins, wanted
from deploy.stack.errors import StackError
from deploy.stack.paths import CHECKOUT

PYTHONS = ("3.11", "3.12", "3.13")
MACHINES = ("x86_64", "aarch64")
LOCK = "a==1 \\\n    --hash=sha256:{0}\nb==2 ; python_full_version < '3.12' \\\n    --hash=sha256:{0}\n"


def installed(path: Path, python: str, machine: str) -> dict[str, str]:
    """Return what a lock installs there: package → version."""
    here = {name: str(value) for name, value in default_environment().items()}
    where = here | {
        "python_version": python, "python_full_version": f"{python}.0", "platform_machine": machine
    }  # fmt: skip
    found: dict[str, str] = {}
    for line in re.findall(r"^(\S+==.*?)(?: \\)?$", path.read_text(), re.MULTILINE):
        asked = Requirement(line)
        if asked.marker is None or asked.marker.evaluate(where):
            name = canonicalize_name(asked.name)
            assert name not in found, f"{name} stands twice for Python {python}"
            found[name] = str(asked.specifier).removeprefix("==")
    return found


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.name)
def test_each_package_has_hashes_and_no_address(path: Path) -> None:
    text = path.read_text()
    assert "://" not in text
    assert not re.search(r"^\s*--(?!hash=sha256:[0-9a-f]{64}( \\)?$)", text, re.MULTILINE)
    assert pins(text)
    assert all(pins(text).values())
    assert len(re.findall("^[^#\\s]", text, re.MULTILINE)) == len(pins(text))


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("path", [RUNTIME, DEVELOPMENT], ids=lambda path: path.name)
def test_a_lock_has_what_the_project_asks_for(path: Path, python: str, machine: str) -> None:
    found = installed(path, python, machine)
    for line in wanted(path):
        asked = Requirement(line)
        assert found[canonicalize_name(asked.name)] in asked.specifier, line


@pytest.mark.parametrize("path", [RUNTIME, DEVELOPMENT], ids=lambda path: path.name)
def test_a_lock_is_whole(path: Path) -> None:
    """Whatever a package in the lock asks for is in the lock."""
    found = installed(path, f"{sys.version_info[0]}.{sys.version_info[1]}", os.uname().machine)
    for name in found:
        try:
            lines = requires(name) or []
        except PackageNotFoundError:  # this environment may stand on another lock: a test of the newest versions
            pytest.fail(f"{name} is locked and not installed: run `make ready`")
        for asked in map(Requirement, lines):
            if asked.marker is None or asked.marker.evaluate({"extra": ""}):
                assert found.get(canonicalize_name(asked.name), "") in asked.specifier, f"{name} needs {asked}"


@pytest.mark.parametrize("python", PYTHONS)
def test_what_runs_is_developed_with_the_same_versions(python: str) -> None:
    assert installed(RUNTIME, python, "x86_64").items() <= installed(DEVELOPMENT, python, "x86_64").items()


def test_this_environment_is_the_lock() -> None:
    """Nothing is installed that is not locked, but our own package."""
    ran = subprocess.run(
        [str(lock.INSTALLED_UV / "bin" / "uv"), "pip", "freeze", "--exclude-editable", "--python", sys.executable],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    names = dict(line.split("==") for line in ran.stdout.split())
    assert names == installed(DEVELOPMENT, f"{sys.version_info[0]}.{sys.version_info[1]}", os.uname().machine)


def test_an_edit_of_pyproject_without_a_new_lock_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert outdated() == []
    text = (CHECKOUT / "pyproject.toml").read_text()
    monkeypatch.setattr(lock, "CHECKOUT", tmp_path)
    for edited, old in (
        (text, []),
        (text.replace('"aiomqtt>=2.5,<3"', '"aiomqtt>=2.5,<4"'), [RUNTIME, DEVELOPMENT]),
        (text.replace('    "rich>=15,<16",\n', ""), [RUNTIME, DEVELOPMENT]),
        (text.replace('"setuptools>=77"', '"hatchling"'), [RUNTIME, DEVELOPMENT]),
        (text.replace('"mypy>=2,<3"', '"mypy>=2,<4"'), [DEVELOPMENT]),
        (text.replace('requires-python = ">=3.11"', 'requires-python = ">=3.12"'), list(LOCKS)),
    ):
        (tmp_path / "pyproject.toml").write_text(edited)
        assert outdated() == old


def test_what_has_changed_is_told_in_a_line_for_each_package() -> None:
    before, other = LOCK.format("0" * 64), "f" * 64
    after = f"{before}a==2 \\\n    --hash=sha256:{other}\n".replace("a==1", "c==3", 1)
    assert changes(before, before) == []
    assert changes(before, after) == ["- a==1", "+ a==2", "+ c==3"]
    assert changes(after, before) == ["+ a==1", "- a==2", "- c==3"]
    assert changes(before, LOCK.format(other)) == ["~ a==1", "~ b==2"]
    assert changes("", before) == ["+ a==1", "+ b==2"]


def test_uv_is_told_of_the_index_that_pip_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "https://mirror.example/simple")
    monkeypatch.delenv("UV_DEFAULT_INDEX", raising=False)
    assert environment()["UV_DEFAULT_INDEX"] == "https://mirror.example/simple"
    monkeypatch.setenv("UV_DEFAULT_INDEX", "https://ours.example/simple")
    assert environment()["UV_DEFAULT_INDEX"] == "https://ours.example/simple"


def test_a_file_with_another_hash_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """uv itself is installed by its hash; with the true one it works."""
    monkeypatch.setattr(lock, "INSTALLED_UV", tmp_path / "uv")
    log = tmp_path / "log"
    assert Path(lock.install_uv(log)).is_file()
    forged = tmp_path / "requirements-uv.txt"
    forged.write_text(re.sub("sha256:[0-9a-f]{4}", "sha256:0000", lock.UV.read_text()))
    monkeypatch.setattr(lock, "UV", forged)
    with pytest.raises(StackError, match="-m pip install"):
        lock.install_uv(log)
    assert not (tmp_path / "uv").exists()


def test_the_environment_is_built_anew_for_another_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = bootstrap.venv_stamp()
    assert before == bootstrap.venv_stamp()
    other = tmp_path / "requirements-dev.txt"
    other.write_text(DEVELOPMENT.read_text().replace("sha256:0", "sha256:1", 1))
    monkeypatch.setattr(bootstrap, "DEVELOPMENT", other)
    assert bootstrap.venv_stamp() != before
