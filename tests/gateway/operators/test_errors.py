"""The modules behind `biogate` by their own addresses. (What they do is tested in forked processes.)"""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "module",
    [
        "gateway.operators.commands",
        "gateway.quarantine.console",
        "gateway.operators.recovery",
        "device_sim",
        "device_sim.enroll",
    ],
)
def test_it_can_be_started(module: str) -> None:
    ran = subprocess.run([sys.executable, "-m", module, "--help"], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "Usage: " in ran.stdout
