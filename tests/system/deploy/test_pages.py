"""The commands of README and of the pages for a first try, as they are printed, against a running `make up`.

All cases share it, so they go from what leaves most of it as it was to what does not: alarms before more devices."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

from deploy.stack.paths import CHECKOUT
from tests.processes import wait_until
from tests.system.deploy.conftest import FLOWING, Up
from tests.system.deploy.shell import Shell

pytestmark = pytest.mark.timeout(600)  # to start a plant on a busy machine
ADDED = re.compile(r"\| (received|committed|duplicates|quarantined|discarded|in flight) (\d+)")


def blocks(page: str, title: str | None = None) -> list[str]:
    """The indented blocks of a page, or of one of its sections."""
    text = (CHECKOUT / page).read_text()
    if title is not None:
        text = text.split(f"\n## {title}\n")[1].split("\n## ")[0]
    return [textwrap.dedent(block) for block in re.findall(r"(?:(?<=\n\n))(?: {4}.*\n|\n(?= {4}))+", text)]


@pytest.fixture
def shell(running: Up, tmp_path: Path) -> Shell:
    (tmp_path / "home").mkdir()
    return Shell(running, tmp_path / "home")


def test_what_the_readme_says_to_try_works(shell: Shell) -> None:
    look, command, kill = blocks("README.md", "Try it")
    seen = shell.run(look)
    assert '"sim-0001"' in seen
    assert (shell.directory / "telemetry.csv").read_text().count("\n") > 1

    said = shell.run(command)
    assert '"state":"waiting"' in said
    assert re.search(r'"state":"done".*"result":{"before": 5', said), said

    shell.run(f"{kill.strip()} --name {shell.up.paths.name}")
    again = shell.up.wait_for(r"gateway ended \(.*\) and was started again")
    shell.up.wait_for(FLOWING.pattern, since=again.end())
    totals = [dict(ADDED.findall(line)) for line in shell.up.said.splitlines() if " | received " in line]
    committed = [int(one["committed"]) for one in totals]
    assert committed == sorted(committed), "what was stored before the kill is in the figures after it"
    for one in totals:
        received = int(one.pop("received"))
        assert received == sum(int(count) for count in one.values())


def test_a_rule_is_tried_as_the_page_says(shell: Shell) -> None:
    save, acknowledge, as_file, watch = blocks("docs/alarms.md", "Try a rule")
    assert '"on_delay": 5.0' in shell.run(save)
    standing, act = acknowledge.splitlines()
    raised = re.compile(r'"device":"sim-0001"[^}]*"state":"unacknowledged"')
    wait_until(lambda: bool(raised.search(shell.run(standing))), 20, lambda: shell.run(standing))
    assert '"state":"acknowledged"' in shell.run(act)
    [address] = [line for line in save.splitlines() if line.startswith("rules=")]  # a terminal remembers it
    assert '"unchanged":1' in shell.run(f"{address}\n{as_file}")
    assert "temperature-high" in (shell.directory / "rules.yaml").read_text()
    assert shell.run(watch.replace("mosquitto_sub", "mosquitto_sub -C 1")).startswith("alarms/sim-000")
    [examples] = re.findall(r"```yaml\n(.*?)```", (CHECKOUT / "docs" / "alarms.md").read_text(), re.DOTALL)
    (shell.directory / "rules.yaml").write_text(examples)
    dry_run = as_file.splitlines()[1]
    said = shell.run(f"{address}\n{dry_run}")  # a phase may come later in the run, a channel is there
    assert '"warnings":' in said
    assert "has ever sent" not in said


def test_a_report_is_made_as_the_page_says(shell: Shell) -> None:
    make, template = blocks("docs/reports.md")
    shell.run(make)
    assert "Shift report" in (shell.directory / "report.html").read_text()
    assert (shell.directory / "report.pdf").read_bytes().startswith(b"%PDF-1.")
    helpers = "\n".join(make.splitlines()[:3])
    assert '"version":1' in shell.run(f"{helpers}\n{template}")


def test_a_client_of_ones_own_works_as_its_page_says(shell: Shell) -> None:
    begin, own, notebook, watch, quarantine = blocks("docs/try.md")
    shell.run(begin)
    *publish, latest = own.splitlines()
    assert "login my-reactor.1 works" in shell.run("\n".join(publish))
    wait_until(lambda: "7.02" in shell.run(latest), 30, lambda: shell.run(latest))
    for path in (shell.directory / ".stack" / "my-reactor").iterdir():
        assert path.stat().st_mode & 0o077 == 0 or path.name == "ca.pem", path

    program = shell.directory / "notebook.py"
    program.write_text(notebook)
    shell.run(f".venv/bin/python {program}")
    wait_until(lambda: "37.02" in shell.run(latest), 30, lambda: shell.run(latest))

    heard = shell.run(watch.replace("mosquitto_sub", "mosquitto_sub -C 20"))
    assert re.search(r"bioreactors/sim-000\d/telemetry: \d+ bytes", heard)

    refused, *rest = quarantine.splitlines()
    shell.run(refused)
    wait_until(lambda: "my-reactor" in shell.run(rest[0]), 30, lambda: shell.run(rest[0]))
    shell.run("\n".join(rest))


def test_controllers_are_let_in_as_the_page_says(shell: Shell) -> None:
    listed, play, waiting, http = blocks("docs/enrollment-howto.md")
    (shell.directory / ".stack").mkdir()
    said = shell.run(listed)
    assert re.search(r"sim-0001\s+sim-0001\s+active", said)
    serials = listed.splitlines()[-1]
    wait_until(lambda: bool(re.search(r"MY-1\s+MY-1\s+active", shell.run(serials))), 30, lambda: shell.run(serials))
    shell.run(play)
    queue, *rest = waiting.splitlines()
    wait_until(lambda: "unknown-serial" in shell.run(queue), 30, lambda: shell.run(queue))
    said = shell.run("\n".join(rest))
    assert "approved: MY-2" in said
    assert re.search(r"device: +MY-2\n", said)
    assert "sim-0003: revoked; its logins are deleted, its serial is blocked" in said
    log = shell.directory / ".stack" / "my-2.log"
    wait_until(lambda: '"device": "MY-2"' in log.read_text(), 30, log.read_text)
    assert "waits for approval, and stays connected" in log.read_text()
    wait_until(lambda: "1 blocked" in shell.up.said, 30, lambda: shell.up.said)
    assert "MY-2" in shell.run(http)


def test_accounts_are_made_as_the_page_says(shell: Shell) -> None:
    people, audit, sql = blocks("docs/accounts.md")
    (shell.directory / ".stack").mkdir()
    said = shell.run(people)
    assert "eva@example.org: account made; admin of main" in said
    assert '"channel":"ph"' in said
    assert (shell.directory / ".stack" / "notebook.key").stat().st_mode & 0o077 == 0
    said = shell.run(audit)
    assert '"whole":true' in said
    assert "faults" in said
    assert re.search(r"sim-0001 +\| +\d", shell.run(sql))
