"""The gateway as a process, as operations run it."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from deploy.stack.ports import any_free
from tests.forked import Forked

GAUGE = re.compile(r"^# TYPE (biogate_\w+) gauge$", re.MULTILINE)
SAMPLE = re.compile(r"^(?P<name>biogate_\w+)(?:\{(?P<labels>[^}]*)\})? (?P<value>\S+)$", re.MULTILINE)
KINDS = ("frame", "status", "event")


class GatewayProcess:
    """`python -m gateway` with its settings in the environment. May be started again after an end of any sort."""

    module, port_setting = "gateway", "BIOGATE_GATEWAY_HTTP_PORT"

    def __init__(self, database_url: str, mqtt_url: str, log: Path) -> None:
        self.log = log
        self.port = any_free()
        self.environment = {
            "BIOGATE_DATABASE_URL": database_url,
            "BIOGATE_MQTT_URL": mqtt_url,
            self.port_setting: str(self.port),
        }
        self._child: Forked | subprocess.Popen[bytes] | None = None
        self.forked = True
        """False for measuring: started as it is outside tests, with nothing imported."""

    @property
    def child(self) -> Forked | subprocess.Popen[bytes]:
        assert self._child is not None, "not started"
        return self._child

    def start(self, *, ready: bool = True, **settings: object) -> None:
        """Start it; `settings` without the prefix BIOGATE_, in small letters."""
        environment = {f"BIOGATE_{name.upper()}": str(value) for name, value in settings.items()}
        environment = {**os.environ, **self.environment, **environment}
        if self.forked:
            self._child = Forked(self.module, environment=environment, out=self.log)
        else:
            with self.log.open("ab") as log:
                command = [sys.executable, "-m", self.module]
                self._child = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        if ready:
            self.wait_ready()

    def terminate(self, timeout_s: float = 20) -> int:
        """SIGTERM; the exit status."""
        self.child.send_signal(signal.SIGTERM)
        return self.child.wait(timeout_s)

    def kill(self) -> None:
        """SIGKILL, if it runs."""
        if self._child is not None and self._child.poll() is None:
            self._child.kill()
            self._child.wait(10)

    def end(self) -> None:
        """End it in whatever state a test has left it: at once, or while coverage is measured with SIGTERM before that,
        because a killed process cannot tell which lines it has run."""
        if "COVERAGE_PROCESS_CONFIG" in os.environ and self._child is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.terminate(5)
        self.kill()

    def get(self, path: str) -> tuple[int, str]:
        """Status and body; 0 while nobody listens."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def wait_ready(self, timeout_s: float = 60) -> None:
        wait_until(
            lambda: self.get("/ready")[0] == 200, timeout_s, lambda: self.get("/ready")[1] + self.log.read_text()
        )

    def metrics(self) -> dict[str, float]:
        """All samples of ours: `name` or `name{labels}` → value."""
        return _samples(self.get("/metrics")[1])

    def gauges(self, *without: str) -> dict[str, float]:
        """Those of gauges, but for these."""
        said = self.get("/metrics")[1]
        names = set(GAUGE.findall(said)) - {*without}
        return {name: value for name, value in _samples(said).items() if name.partition("{")[0] in names}

    def account(self, kind: str = "frame") -> dict[str, int]:
        """The counts of guarantee 2 for a kind, at one moment."""
        metrics = self.metrics()
        counts = {
            state: int(metrics[f'biogate_intake_{state}_total{{kind="{kind}"}}'])
            for state in ("received", "committed", "duplicate", "quarantined", "discarded")
        }
        return counts | {"in_flight": int(metrics[f'biogate_intake_in_flight{{kind="{kind}"}}'])}

    def settle(self, received: int, kind: str = "frame", timeout_s: float = 30) -> dict[str, int]:
        """Wait until `received` items of a kind were received and none is in flight; the account, which must add up."""

        def settled() -> bool:
            account = self.account(kind)
            assert_adds_up(account)
            return account["received"] >= received and account["in_flight"] == 0

        wait_until(settled, timeout_s, lambda: f"{self.account(kind)}\n{self.log.read_text()[-2000:]}")
        return self.account(kind)


class AlarmsProcess(GatewayProcess):
    """`python -m gateway.alarms`, likewise. Ready means that it leads."""

    module, port_setting = "gateway.alarms", "BIOGATE_ALARMS_HTTP_PORT"


class WorkerProcess(GatewayProcess):
    """`python -m deploy.worker`, likewise, with files of jobs in `directory`."""

    module, port_setting = "deploy.worker", "BIOGATE_WORKER_HTTP_PORT"

    def __init__(self, database_url: str, api_database_url: str, directory: Path, log: Path) -> None:
        super().__init__(database_url, "", log)
        self.environment |= {"BIOGATE_API_DATABASE_URL": api_database_url, "BIOGATE_JOBS_DIR": str(directory)}


def _samples(said: str) -> dict[str, float]:
    return {
        match["name"] + (f"{{{match['labels']}}}" if match["labels"] else ""): float(match["value"])
        for match in SAMPLE.finditer(said)
    }


def assert_adds_up(account: dict[str, int]) -> None:
    """Assert guarantee 2: what was received is committed, duplicate, quarantined, discarded or in flight."""
    parts = ("committed", "duplicate", "quarantined", "discarded", "in_flight")
    assert account["received"] == sum(account[part] for part in parts), account


def wait_until(condition: Callable[[], bool], timeout_s: float, explain: Callable[[], str] = str) -> None:
    """Poll `condition` until it is true; fails with what `explain` says."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {explain()}"
        time.sleep(0.05)
