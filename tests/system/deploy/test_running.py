"""What becomes of a running `make up` whose parts are killed or hang, and of a second one."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from deploy.stack.process import holders
from tests.system.deploy.conftest import FLOWING, PARTS, Up

pytestmark = pytest.mark.timeout(600)  # to start a plant on a busy machine


def test_a_second_one_says_that_the_first_is_running(running: Up, tmp_path: Path) -> None:
    second = Up(running.paths.name, tmp_path / "second")
    second.start()
    assert second.child is not None
    assert second.child.wait(30) == 1
    assert "is running already, under process" in second.said
    assert running.paths.env.exists()
    assert running.running() == list(PARTS)


def test_a_part_that_is_killed_is_started_again(running: Up) -> None:
    for part, title in (("gateway", "gateway"), ("postgres", "PostgreSQL"), ("mosquitto", "Mosquitto")):
        victims = holders(running.paths.run / f"{part}.lock")
        os.kill(min(victims), signal.SIGKILL)
        running.wait_for(rf"{title} ended \(killed by SIGKILL\) and was started again")
    running.wait_for(FLOWING.pattern, since=len(running.said))


def test_a_part_that_hangs_is_killed_and_started_again(running: Up) -> None:
    before = len(running.said)
    os.kill(min(holders(running.paths.run / "gateway.lock")), signal.SIGSTOP)
    running.wait_for("gateway does not answer: it is killed", since=before)
    again = running.wait_for(r"gateway ended \(killed by SIGKILL\) and was started again", since=before)
    running.wait_for(FLOWING.pattern, since=again.end())
