"""What can be said of the image without building it; `make image` builds and tries it."""

from __future__ import annotations

import asyncio
import re
import stat
import subprocess
import tomllib
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from deploy.container import passwords
from deploy.container.ready import ready
from deploy.lock import LOCK, MACHINES, PYTHON, wanted
from deploy.stack.paths import BIOGATE, CHECKOUT
from deploy.stack.ports import any_free
from gateway.health import serve

TEXT = (CHECKOUT / "deploy" / "Dockerfile").read_text()
FINAL = TEXT.rpartition("\nFROM ")[2]
IGNORE = (CHECKOUT / "deploy" / "Dockerfile.dockerignore").read_text()


def locked() -> dict[str, tuple[str, int]]:
    """Package → version, and how many hashes."""
    pins = re.split(r"\n(?=\S)", LOCK.read_text().partition("\n")[2])
    found: dict[str, tuple[str, int]] = {}
    for pin in pins:
        name, version = pin.split()[0].split("==")
        found[canonicalize_name(name)] = (version, len(re.findall(r"--hash=sha256:[0-9a-f]{64}\b", pin)))
    return found


def test_the_base_is_one_version_of_the_tested_python() -> None:
    base = re.search(r"^ARG BASE=python:(\d+\.\d+)\.\d+-slim-bookworm$", TEXT, re.MULTILINE)
    assert base
    assert base[1] == PYTHON
    assert set(re.findall(r"^FROM (\S+)", TEXT, re.MULTILINE)) == {"${BASE}"}


def test_the_user_is_a_number_that_stays() -> None:
    user = re.search(r"^USER (\d+):(\d+)$", FINAL, re.MULTILINE)
    assert user
    assert f"useradd --uid {user[1]} --gid {user[2]} " in FINAL
    assert FINAL.rindex("USER") > FINAL.rindex("RUN")


def test_tools_stay_in_the_stage_that_builds() -> None:
    assert not re.search(r"\b(pip|apt-get|venv)\b", FINAL)
    assert re.findall(r"^COPY (.*)$", FINAL, re.MULTILINE) == ["--from=build /opt/biogate /opt/biogate"]


def test_the_context_has_all_packages_and_nothing_for_tests() -> None:
    included = set(re.findall(r"^!(\S+)$", IGNORE, re.MULTILINE))
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
    packages = {name.removesuffix("*") for name in project["tool"]["setuptools"]["packages"]["find"]["include"]}
    assert packages - {"deploy"} <= included
    assert {"pyproject.toml", project["project"]["readme"], "deploy/container", "deploy/requirements.txt"} <= included
    assert not included & {"tests", "deploy", ".stack", ".venv", ".git"}
    for name in included:
        assert (CHECKOUT / name).exists()


def test_the_lock_has_what_the_project_asks_for() -> None:
    found = locked()
    for line in wanted():
        asked = Requirement(line)
        version, _ = found.get(canonicalize_name(asked.name), ("", 0))
        assert version in asked.specifier, f"{line}: run `python -m deploy.lock`"


def test_the_lock_is_whole() -> None:
    """Whatever a package in it asks for is in it, with a hash."""
    found = locked()
    for name, (_, hashes) in found.items():
        assert 1 <= hashes <= len(MACHINES), name
        try:
            asked = [Requirement(line) for line in requires(name) or []]
        except PackageNotFoundError:  # what only building needs may not be installed here
            continue
        for other in asked:
            if other.marker is None or other.marker.evaluate({"extra": ""}):
                assert canonicalize_name(other.name) in found, f"{name} needs {other}: run `python -m deploy.lock`"


async def test_the_health_check_says_what_is_in_the_way() -> None:
    troubles = ["the database is away"]

    async def asked() -> list[str]:
        return troubles

    port = any_free()
    assert not ready(port)[0]
    async with serve("127.0.0.1", port, asked):
        command = [*BIOGATE, "ready", str(port)]
        checked = await asyncio.to_thread(
            subprocess.run, command, capture_output=True, text=True, cwd=CHECKOUT, check=False
        )
        assert checked.returncode == 1
        assert "the database is away" in checked.stdout
        troubles.clear()
        assert (await asyncio.to_thread(ready, port))[0]
        assert not (await asyncio.to_thread(ready, port, "/nothing"))[0]


def test_passwords_are_made_once_and_kept_from_others(tmp_path: Path) -> None:
    file = tmp_path / "biogate.password"
    passwords.main([file], pgpass=True)
    first = file.read_text()
    (tmp_path / "pgpass").unlink()  # as if it had been killed between the two
    passwords.main([file], pgpass=True)
    assert file.read_text() == first
    assert len(first.strip()) >= 32
    assert (tmp_path / "pgpass").read_text() == f"*:*:*:biogate:{first}"
    for path in tmp_path.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert {path.name for path in tmp_path.iterdir()} == {"biogate.password", "pgpass"}
