"""What can be said of the image without building it; `make image` builds and tries it."""

from __future__ import annotations

import asyncio
import re
import stat
import subprocess
import tomllib
from pathlib import Path

from deploy.bootstrap import PANGO
from deploy.container import passwords
from deploy.container.ready import ready
from deploy.lock import RUNTIME, python
from deploy.stack.paths import BIOGATE, CHECKOUT, short
from deploy.stack.ports import any_free
from gateway.runtime.health import serve

TEXT = (CHECKOUT / "deploy" / "Dockerfile").read_text()
FINAL = TEXT.rpartition("\nFROM ")[2]
IGNORE = (CHECKOUT / "deploy" / "Dockerfile.dockerignore").read_text()


def test_the_base_is_one_version_of_the_tested_python() -> None:
    base = re.search(r"^ARG BASE=python:(\d+\.\d+)\.\d+-slim-bookworm$", TEXT, re.MULTILINE)
    assert base
    assert base[1] == python()
    assert set(re.findall(r"^FROM (\S+)", TEXT, re.MULTILINE)) == {"${BASE}"}


def test_all_packages_come_from_the_lock_of_what_runs() -> None:
    installs = re.findall(r"/pip install (.*?)(?: \\)?$", TEXT, re.MULTILINE)
    assert installs == [
        f"--only-binary=:all: --require-hashes -r /src/{short(RUNTIME)}",
        "--no-deps --no-build-isolation /src",
    ]


def test_the_user_is_a_number_that_stays() -> None:
    user = re.search(r"^USER (\d+):(\d+)$", FINAL, re.MULTILINE)
    assert user
    assert f"useradd --uid {user[1]} --gid {user[2]} " in FINAL
    assert FINAL.rindex("USER") > FINAL.rindex("RUN")


def test_tools_stay_in_the_stage_that_builds() -> None:
    assert not re.search(r"\b(pip|venv)\b", FINAL)
    [installed] = re.findall(r"apt-get install -y --no-install-recommends (.*) \\", FINAL)
    assert set(installed.split()) == {*PANGO, "fonts-dejavu-core"}
    assert re.findall(r"^COPY (.*)$", FINAL, re.MULTILINE) == ["--from=build /opt/biogate /opt/biogate"]


def test_the_context_has_all_packages_and_nothing_for_tests() -> None:
    included = set(re.findall(r"^!(\S+)$", IGNORE, re.MULTILINE))
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
    packages = {name.removesuffix("*") for name in project["tool"]["setuptools"]["packages"]["find"]["include"]}
    assert packages - {"deploy", "biogate"} <= included  # the client stands in the folder of the API
    assert {"pyproject.toml", project["project"]["readme"], "deploy/container", "deploy/requirements.txt"} <= included
    assert {short(path.parent) for path in (CHECKOUT / "deploy").glob("*/__main__.py")} <= included
    assert not included & {"tests", "deploy", ".stack", ".venv", ".git"}
    for name in included:
        assert (CHECKOUT / name).exists()


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
