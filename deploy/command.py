"""`biogate`: one command for everything. Each word is found in a table, and its modules are imported when it is given.

The table is all that `biogate --help` needs, so that it is fast. Programs that run for long replace this process, so
that they carry nothing of it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.metadata import version
from typing import Annotated, Any, NamedTuple, NoReturn

import typer
from typer.core import TyperCommand

from schema.command_line import EXIT_CODES, Group, alone, start
from schema.errors import BiogateError

NAME = "biogate"
COMPLETE = "_BIOGATE_COMPLETE"
"""The variable by which a shell asks for words."""


class Word(NamedTuple):
    """A word of the command: where what it does is, as `module:name`, or as `module` for a program; help in a line."""

    at: str
    help: str


WORDS: Mapping[str, Mapping[str, Word]] = {
    "The local stack": {
        "up": Word("deploy.up:main", "Run everything on this machine until Ctrl-C, with simulated devices."),
        "restart": Word("deploy.restart:main", "End parts of a running `biogate up`, which starts them again."),
        "backup": Word("deploy.backup.command:app", "Take, verify and restore backups of the database."),
    },
    "Programs": {
        "gateway": Word("gateway", "Run the gateway: from the broker into the database."),
        "alarms": Word("gateway.alarms", "Run the evaluation of alarms, and tell people of them."),
        "evidence": Word("gateway.evidence", "Run the process that signs the audit trails, and verifies them."),
        "worker": Word("deploy.worker", "Run the worker, which does jobs, such as exports."),
        "canary": Word("gateway.canary", "Run the canary: publish a value, and read it back through the API."),
        "api": Word("api", "Run the API over HTTP."),
        "sim": Word("device_sim.__main__:app", "Simulate bioreactor controllers; `sim enroll` has them enroll only."),
    },
    "Setting up": {
        "migrate": Word("schema.migrate:command", "Bring the database to the schema of this version."),
        "setup": Word("gateway.operators.setup:main", "Make keys, passwords and certificates that are missing."),
        "keys": Word("gateway.operators.keys:app", "Show and change the key that signs the audit trails."),
        "recovery": Word("gateway.operators.recovery:app", "Write files of the broker anew, from the database."),
    },
    "Operation": {
        "devices": Word(
            "gateway.operators.commands:app", "Register, enroll, approve, suspend devices; give them logins."
        ),
        "channels": Word("api.admin.computed:app", "Say what channels are: units, names, ranges, formulas."),
        "quarantine": Word("gateway.quarantine.console:app", "List, show, replay, discard rejected messages."),
        "import": Word("gateway.history.command:main", "Store history from files: CSV, Parquet, Arrow, DASGIP."),
        "samples": Word("api.admin.samples:app", "Take lab samples and material from CSV files."),
        "accounts": Word("api.admin.accounts:app", "Make users, organizations and API keys."),
        "sql-login": Word("api.admin.sql:app", "Make logins at the database, for Grafana."),
        "exports": Word("api.admin.exports:app", "Verify files with telemetry."),
        "hold": Word("api.admin.holds:app", "Keep data of a span of time from being dropped, however old they are."),
        "runs": Word("api.admin.runs:app", "List, show, start and end runs."),
        "audit": Word("api.admin.audit:app", "Verify and export the audit trail."),
        "seal": Word("gateway.evidence.seal_command:app", "Verify that stored frames are those that were sealed."),
    },
    "This command": {
        "completion": Word("deploy.command:completion", "Print the script that completes words in bash, zsh or fish."),
    },
}
HIDDEN: Mapping[str, Word] = {
    "passwords": Word("deploy.container.passwords:main", "Make files with passwords."),
    "ready": Word("deploy.container.ready:main", "Ask a program whether it is ready."),
}
"""For containers."""


class Words(Group):
    """The commands of the table. They are here with their help alone, until one is given."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        for name, (_, line) in _all().items():
            self.add_command(TyperCommand(name, help=line, hidden=name in HIDDEN))

    def resolve_command(self, ctx: typer.Context, args: list[str]) -> tuple[str | None, Any, list[str]]:  # type: ignore[override]
        name, _, rest = super().resolve_command(ctx, args)
        return name, found(name) if name else None, rest

    def format_commands(self, ctx: typer.Context, formatter: Any) -> None:  # type: ignore[override]
        for title, words in WORDS.items():
            with formatter.section(title):
                formatter.write_dl([(name, word.help) for name, word in words.items()])


def _all() -> dict[str, Word]:
    return {**{name: word for words in WORDS.values() for name, word in words.items()}, **HIDDEN}


def found(name: str) -> Any:
    """The command of that name of the table, imported."""
    at, line = _all()[name]
    module, _, attribute = at.partition(":")
    if not attribute:
        return typer.main.get_command(alone(_program(module, line), name))
    try:
        what = getattr(import_module(module), attribute)
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("deploy"):
            raise
        raise BiogateError(f"{NAME} {name} is not in the image: it needs a checkout of the repository") from error
    return typer.main.get_command(what if isinstance(what, typer.Typer) else alone(what, name))


def _program(module: str, help: str) -> Callable[[], NoReturn]:
    """A command that becomes `python -m MODULE`, which looks for modules where they are installed only (-P)."""

    def become() -> NoReturn:
        os.execv(sys.executable, [sys.executable, "-P", "-m", module])  # noqa: S606

    become.__doc__ = f"{help} Settings are in the environment: docs/reference.md."
    return become


def completion(shell: Annotated[str, typer.Argument(metavar="bash|zsh|fish", help="which shell")]) -> int:
    """Print the script that completes words, for `eval "$(biogate completion bash)"` in the shell's start file."""
    from typer.completion import shell_complete  # noqa: PLC0415 - only here

    _know_shells()
    if shell not in {"bash", "zsh", "fish"}:
        raise typer.BadParameter(f"{shell} is not one of bash, zsh and fish")
    return shell_complete(typer.main.get_command(app), {}, NAME, COMPLETE, f"source_{shell}")


def _know_shells() -> None:
    """Have typer know how each shell asks for words: it does so itself for commands that install their completion."""
    from typer.completion import get_completion_inspect_parameters  # noqa: PLC0415 - only when a shell asks

    get_completion_inspect_parameters()


def _say_version(asked: bool) -> None:
    if asked:
        typer.echo(f"{NAME} {version(NAME)}")
        raise typer.Exit


app = typer.Typer(
    cls=Words,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    epilog="Exit codes: " + "; ".join(f"{code} {meaning}" for code, meaning in EXIT_CODES.items()) + ".",
)


@app.callback()
def _top(
    _: Annotated[bool, typer.Option("--version", is_eager=True, callback=_say_version, help="say it, and end")] = False,
) -> None:
    """Biogate: telemetry of bioreactors from MQTT into TimescaleDB, and over HTTP."""


def main() -> NoReturn:
    if COMPLETE in os.environ:
        _know_shells()
    start(app, NAME)


if __name__ == "__main__":
    main()
