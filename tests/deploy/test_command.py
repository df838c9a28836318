"""The command `biogate`: what it says of itself, what it makes of mistakes, and that it is what the pages print."""

from __future__ import annotations

import os
import re
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.core import TyperOption

from deploy.command import COMPLETE, HIDDEN, WORDS, main
from deploy.stack.paths import BIOGATE, CHECKOUT
from deploy.stack.ports import any_free
from schema.command_line import EXIT_CODES
from tests.command_reference import leaves, page
from tests.processes import wait_until

NAMES = [*(name for words in WORDS.values() for name in words), *HIDDEN]
LEAVES = dict(leaf for name in NAMES for leaf in leaves(name))
SIGNED = ["--why", "tests"]
HEAVY = {"gateway", "api", "device_sim", "asyncpg", "pydantic", "rich", "numpy", "cryptography"}

NO_SERVER: dict[str, list[str]] = {
    "migrate": [],
    "recovery dynamic-security": ["SECRETS"],
    "recovery crl": ["SECRETS"],
    "backup take": ["store"],
    "backup wal": ["store"],
    "backup list": ["store"],
    "backup verify": ["store"],
    "backup restore": ["store", "--name", "nobody"],
    "restart": ["gateway", "--name", "nobody"],
    "channels list": [],
    "channels computed": [],
    "channels define": ["our", "--standard", "our", *SIGNED],
    "channels undefine": ["our", *SIGNED],
    "channels constants": ["br-1", "working_volume=2", *SIGNED],
    "channels set": ["ph", "--title", "acidity", *SIGNED],
    "devices register": ["br-1"],
    "devices list": [],
    "devices show": ["br-1"],
    **{f"devices {word}": ["br-1", *SIGNED] for word in ("suspend", "resume", "revoke", "retire", "rotate", "reset")},
    "devices rebuild-streams": ["--since", "2026-11-20Z"],
    "devices declare-lost": ["br-1", "1", "5", "9", *SIGNED],
    "devices login": ["br-1", *SIGNED],
    "devices provision": ["br-1", "--to", "file", *SIGNED],
    "devices logins": [],
    "devices logout": ["br-1.1", *SIGNED],
    "devices queue": [],
    **{f"devices {word}": ["BR-1", *SIGNED] for word in ("approve", "deny", "block", "unblock")},
    "devices open": SIGNED,
    "devices close": SIGNED,
    "devices import": ["serials.csv", *SIGNED],
    "devices imports": [],
    "devices serials": [],
    "import": ["serials.csv", "--device", "br-1"],
    "samples import": ["serials.csv", "--device", "br-1"],
    "samples import-material": ["serials.csv", "--device", "br-1"],
    "quarantine list": [],
    "quarantine show": ["1"],
    "quarantine replay": ["1", *SIGNED],
    "quarantine discard": ["1", *SIGNED],
    "accounts user": ["eva@example.org"],
    "accounts link": ["eva@example.org"],
    "accounts organization": ["north"],
    "accounts key": ["--name", "notebook", "--to", "key"],
    "accounts disable": ["eva@example.org", *SIGNED],
    "accounts enable": ["eva@example.org", *SIGNED],
    "accounts give": ["br-1", "north", *SIGNED],
    "accounts list": [],
    "sql-login add": ["grafana", "--to", "password"],
    "sql-login end": ["grafana"],
    "sql-login list": [],
    "hold make": SIGNED,
    "hold end": ["1", *SIGNED],
    "hold list": [],
    "runs list": [],
    "runs show": ["B-1"],
    "runs start": ["B-1", *SIGNED],
    "runs end": ["B-1", *SIGNED],
    "exports verify": ["export.arrow", "manifest.json"],
    "audit verify": [],
    "seal verify": [],
    "keys show": ["none"],
    "keys change": ["none"],
    "keys resume": ["none", *SIGNED],
    "audit export": ["--to", "events"],
    "ready": ["1"],
    "sim record": ["traffic", "--mqtt-url", "mqtt://127.0.0.1:1"],
    "sim replay": ["none"],
    "sim scenarios": ["none"],
    "sim plot": ["--to", "run.txt"],
    "sim new-device": [
        *("--enroll", "mqtts://localhost:1", "--claims", "none", "--ca", "none"),
        *("--enroll-password-file", "none", "--state", "none"),
    ],
    "sim enroll": [
        *("--enroll", "mqtts://localhost:1", "--claims", "none", "--ca", "none"),
        *("--enroll-password-file", "none", "--state", "none"),
    ],
}
"""Arguments with which each command cannot be done where nothing listens and no file is."""
MISUSED = {"exports verify", *(f"sim {word}" for word in ("enroll", "new-device", "plot", "replay", "scenarios"))}
"""Of these, those that call a file that is not there a wrong use."""
ELSEWHERE = {
    *("up", "gateway", "alarms", "evidence", "worker", "canary", "api", "sim"),
    *("setup", "devices claim-keys", "channels standard", "channels standard-computed", "completion", "passwords"),
}
"""Commands that need no server, or go on until they are stopped: other tests have them."""


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Run it in this process: its status, and what it said."""
    before, sys.argv = sys.argv, ["biogate", *words]
    try:
        with pytest.raises(SystemExit) as ended:
            main()
    finally:
        sys.argv = before
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out, said.err


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty directory, and no settings."""
    for name in [name for name in os.environ if name.startswith("BIOGATE_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")


# -- what it says of itself


def test_its_help_imports_nothing_that_does_the_work() -> None:
    script = (
        "import sys; sys.argv = ['biogate', '--help']; from deploy.command import main\n"
        "try: main()\n"
        "finally: print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=CHECKOUT)
    assert "Exit codes: 0 done; " in done.stdout
    assert {name.partition(".")[0] for name in done.stderr.split()} & HEAVY == set()


def test_its_help_is_quick() -> None:
    """Processor time, the least of five: of the five, a busy machine lets one be about right."""

    def spent() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([*BIOGATE, "--help"], capture_output=True, check=True, cwd=CHECKOUT)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(spent() for _ in range(5)) < 0.3


def test_a_command_imports_its_own_modules_only() -> None:
    script = (
        "import sys; sys.argv = ['biogate', 'audit', '--help']; from deploy.command import main\n"
        "try: main()\n"
        "finally: print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=CHECKOUT)
    assert {"gateway", "device_sim"} & set(done.stderr.split()) == set()


def test_the_console_script_is_installed() -> None:
    script = Path(sys.executable).with_name("biogate")
    done = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
    assert re.fullmatch(r"biogate \d+\.\d+\.\d+\n", done.stdout)


def test_the_help_names_each_command_of_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "--help")
    assert status == 0
    named = re.findall(r"^  ([a-z][a-z-]*)  +[A-Z]", out, re.MULTILINE)
    assert named == [name for name in NAMES if name not in HIDDEN]


@pytest.mark.parametrize("words", LEAVES, ids=" ".join)
def test_each_command_has_a_help(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, *words, "--help")
    assert (status, err) == (0, "")
    assert out.startswith(f"Usage: biogate {' '.join(words)} ")
    assert LEAVES[words].get_short_help_str()


def test_without_a_word_it_shows_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["devices"], ["backup"]):
        status, out, err = run(capsys, *words)
        assert (status, out) == (2, "")
        assert "Usage: biogate" in err


def test_the_page_of_commands_is_the_table() -> None:
    written = (CHECKOUT / "docs" / "commands.md").read_text()
    assert written == page(), "run `python -m tests.command_reference > docs/commands.md`"
    assert all(f"`biogate {' '.join(words)}`" in written for words in LEAVES)


def test_the_exit_codes_are_in_the_reference() -> None:
    written = (CHECKOUT / "docs" / "reference.md").read_text().split("\n## Exit codes\n")[1]
    assert set(re.findall(r"^\| (\d+) \|", written, re.MULTILINE)) == {str(code) for code in EXIT_CODES}


# -- mistakes


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["devcies"], "there is no command 'devcies': did you mean 'devices'?"),
        (["devices", "aprove", "BR-1"], "there is no command 'aprove': did you mean 'approve'?"),
        (["sim", "enrol"], "there is no command 'enrol': did you mean 'enroll'?"),
        (["xyzzy"], "there is no command 'xyzzy': see biogate --help"),
        (["devices", "xyzzy"], "there is no command 'xyzzy': see biogate devices --help"),
        (["devices", "logins", "--wating"], "there is no option '--wating': did you mean '--waiting'?"),
        (["--vresion"], "there is no option '--vresion': did you mean '--version'?"),
    ],
)
def test_an_unknown_word_gets_the_nearest_ones(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, *words) == (2, "", f"{said}\n")


@pytest.mark.parametrize("words", LEAVES, ids=" ".join)
def test_a_wrong_use_is_told_in_a_line(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, *words, "--no-such-option")
    assert (status, out) == (2, "")
    assert re.fullmatch(r"[^\n]*--no-such-option[^\n]*biogate [^\n]*--help\n", err)


def test_the_tables_of_mistakes_have_each_command() -> None:
    assert {" ".join(words) for words in LEAVES} == {*NO_SERVER, *ELSEWHERE}


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("secrets")
    subprocess.run([*BIOGATE, "setup", str(directory)], check=True, capture_output=True)
    return directory


@pytest.fixture
def files(tmp_path: Path, secrets: Path) -> Path:
    """The files that a command needs before it goes to the database."""
    (tmp_path / "serials.csv").write_text("serial,device\nBR-1,br-1\n")
    (tmp_path / "SECRETS").symlink_to(secrets)
    return tmp_path


@pytest.mark.parametrize("command", NO_SERVER)
def test_what_cannot_be_done_is_told_in_a_line(
    command: str, files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BIOGATE_DATABASE_URL", f"postgresql://biogate@127.0.0.1:{any_free()}/biogate")
    (files / "password").write_text("a password that is long enough\n")
    status, out, err = run(capsys, *command.split(), *NO_SERVER[command])
    assert status == (2 if command in MISUSED else 1)
    assert len((err or out).splitlines()) == 1, (out, err)


@pytest.mark.parametrize(
    "command", [name for name in NO_SERVER if name.split()[0] in {"devices", "quarantine", "audit", "recovery"}]
)
def test_a_setting_that_is_missing_is_named(command: str, files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, *command.split(), *NO_SERVER[command])
    assert (status, out) == (2, "")
    assert re.fullmatch(r"BIOGATE_DATABASE_URL: is not set[^\n]*\n", err)


@pytest.mark.parametrize("program", ["gateway", "alarms", "evidence", "canary", "api"])
def test_a_program_without_settings_ends_with_2(program: str) -> None:
    done = subprocess.run([*BIOGATE, program], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "BIOGATE_" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_program_takes_the_place_of_the_command(tmp_path: Path) -> None:
    """It carries nothing of the command, and signals reach it."""
    environment = {**os.environ, "BIOGATE_DATABASE_URL": f"postgresql://biogate@127.0.0.1:{any_free()}/biogate"}
    environment["BIOGATE_GATEWAY_HTTP_PORT"] = str(any_free())
    environment["BIOGATE_MQTT_URL"] = f"mqtt://127.0.0.1:{any_free()}"
    with subprocess.Popen(
        [*BIOGATE, "gateway"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as child:
        proc = Path(f"/proc/{child.pid}/cmdline")
        wait_until(lambda: proc.read_text().split("\0")[1:4] == ["-P", "-m", "gateway"], 20)
        assert child.stdout
        child.stdout.readline()  # it logs: it runs
        child.terminate()
        assert child.wait(20) == 0


def test_ctrl_c_ends_a_command_that_waits() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        environment = {**os.environ, "BIOGATE_DATABASE_URL": f"postgresql://b@127.0.0.1:{silent.getsockname()[1]}/b"}
        child = subprocess.Popen(
            [*BIOGATE, "audit", "verify"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        with silent.accept()[0] as connection:
            connection.recv(8)  # it has connected, and waits for an answer
            child.send_signal(signal.SIGINT)
            assert (*child.communicate(timeout=20), child.returncode) == ("", "", 130)


@pytest.mark.parametrize("words", [["--help"], ["devices", "--help"], ["completion", "bash"]])
def test_a_reader_that_goes_away_is_no_reason_for_a_traceback(words: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([*BIOGATE, *words], stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


# -- completion


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("biogate de", ["devices"]),
        ("biogate a", ["alarms", "api", "accounts", "audit"]),
        ("biogate devices re", ["register", "resume", "revoke", "retire", "reset", "rebuild-streams"]),
        ("biogate devices logins --w", ["--waiting"]),
        ("biogate restart ca", ["canary"]),
    ],
)
def test_bash_completes_words(words: str, expected: list[str]) -> None:
    script = subprocess.run([*BIOGATE, "completion", "bash"], capture_output=True, text=True, check=True).stdout
    function = re.search(r"complete .*-F (\w+) biogate", script)
    assert function
    position = len(words.split()) - 1
    last = f'COMP_WORDS=({words}); COMP_CWORD={position}; {function[1]} biogate; printf "%s\\n" "${{COMPREPLY[@]}}"'
    done = subprocess.run(
        ["bash", "-c", f"{script}\n{last}"],
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True, text=True, check=True, cwd=CHECKOUT,
    )  # fmt: skip
    assert sorted(done.stdout.split()) == sorted(expected), done.stderr


def test_completion_of_the_first_word_imports_nothing_that_does_the_work() -> None:
    script = "import sys\nfrom deploy.command import main\ntry: main()\nfinally: print(*sys.modules, file=sys.stderr)"
    asked = {COMPLETE: "complete_bash", "COMP_WORDS": "biogate de", "COMP_CWORD": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, **asked},
        capture_output=True,
        text=True,
        check=False,
        cwd=CHECKOUT,
    )
    assert done.stdout.split() == ["devices"]
    assert {name.partition(".")[0] for name in done.stderr.split()} & (HEAVY - {"rich", "pydantic"}) == set()


# -- what pages print

PAGES = [CHECKOUT / "README.md", CHECKOUT / "docker-compose.yml", *sorted((CHECKOUT / "docs").rglob("*.md"))]
CODE = re.compile(r"^(?: {4}| +- \||#  ).*$|`[^`]+`", re.MULTILINE)
PRINTED = re.compile(
    r"(?<!-U )(?<!-d )(?<!database )(?<!\")(?<![\w/@-])(?:\.venv/bin/)?biogate\s+"
    r"(?!\w+ 1\b)([a-z][a-z-]*)((?: [^`|;&\n]*)?)"  # `biogate seal 1` is a kind of text
)


def printed() -> Iterator[tuple[str, str, str]]:
    """Each command that a page prints as code: the page, its first word, the rest of the line."""
    for path in PAGES:
        for code in CODE.findall(path.read_text().replace("\\\n", "")):
            for first, rest in PRINTED.findall(code):
                yield path.name, first, rest


def test_pages_print_commands_and_options_that_there_are() -> None:
    found = sorted(set(printed()))
    assert len(found) > 50
    for path, first, rest in found:
        words = rest.split()
        assert first in NAMES, f"{path}: biogate {first}{rest}"
        command: Any = LEAVES.get((first, words[0]) if words else (first,)) or LEAVES.get((first,))
        options = {word.partition("=")[0] for word in words if word.startswith("--")} - {"--help"}
        if command is None:
            assert not words or not re.fullmatch("[a-z][a-z-]*", words[0]), f"{path}: biogate {first}{rest}"
            assert not options
            continue
        named = [option for option in command.params if isinstance(option, TyperOption)]
        known = {one for option in named for one in (*option.opts, *option.secondary_opts)}
        assert options <= known, f"{path}: biogate {first}{rest}: {options - known}"


def test_no_page_prints_a_module_where_there_is_a_command() -> None:
    ours = re.compile(r"python3? -m (?:gateway|api|schema|device_sim|deploy\.(?!lock|bootstrap|assets))[\w.]*")
    deployed = [*(CHECKOUT / "deploy").rglob("*.y*ml"), CHECKOUT / "deploy" / "Dockerfile", CHECKOUT / "mosquitto.conf"]
    for path in [*PAGES, CHECKOUT / "ARCHITECTURE.md", *deployed]:
        assert set(ours.findall(path.read_text())) <= {"python -m gateway"}, path  # as pkill looks for it
