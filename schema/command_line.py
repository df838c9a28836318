"""How all commands of `biogate` are alike: the nearest word for an unknown one, errors in one line, exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from schema.errors import BiogateError, Misused

DONE, FAILED, MISUSED, INTERRUPTED = 0, BiogateError.exit_code, Misused.exit_code, 130
EXIT_CODES = {
    DONE: "done",
    FAILED: "it could not be done, or what was looked at is not as it should be",
    MISUSED: "the command was used wrongly, or a setting is missing or wrong",
    3: "gateway: another client took over its session; api: it could not listen at its port",
    INTERRUPTED: "interrupted by Ctrl-C",
}
"""The exit codes of all commands, with their meaning."""


class Group(TyperGroup):
    """A group of commands. An unknown word gets the nearest ones; no word at all gets the help."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        if not args and not self.invoke_without_command and not ctx.resilient_parsing:
            typer.echo(ctx.get_help(), err=True)
            raise typer.Exit(MISUSED)
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: typer.Context, args: list[str]) -> tuple[str | None, Any, list[str]]:  # type: ignore[override]
        word = args[0]
        if word not in self.commands and not ctx.resilient_parsing and not word.startswith("-"):
            raise Misused(f"there is no command {word!r}{nearest(word, self.list_commands(ctx), ctx.command_path)}")
        return super().resolve_command(ctx, args)


def nearest(word: str, known: list[str], path: str) -> str:
    """The end of a sentence about an unknown word: the nearest of the known ones, or where all of them are listed."""
    near = get_close_matches(word, known)
    return f": did you mean {' or '.join(map(repr, near))}?" if near else f": see {path} --help"


def commands(help: str) -> typer.Typer:
    """An empty group of commands. Its help is plain text, which is fast to make and easy to search."""
    return typer.Typer(
        cls=Group, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None, help=help
    )


def alone(function: Callable[..., object], name: str | None = None) -> typer.Typer:
    """The function as a command, with its docstring as help."""
    app = commands("")
    app.command(name)(function)
    return app


def start(app: typer.Typer, name: str) -> NoReturn:
    """Run the command that the arguments name, and end the process with its exit code.

    `name` is how people start it. What a person can have done wrong ends in one line on standard error; a traceback is
    a defect of ours.
    """
    try:
        status = typer.main.get_command(app).main(prog_name=name, standalone_mode=False)
        sys.stdout.flush()
    except typer.TyperException as error:
        _end(_usage(error), MISUSED)
    except BiogateError as error:
        _end(str(error), error.exit_code)
    except typer.Abort:  # Ctrl-C, or the end of the input, where something was asked for
        _end("interrupted: nothing was done", INTERRUPTED)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left for it at the end goes nowhere
        sys.exit(FAILED)
    except OSError as error:
        _end(f"{error.filename}: {error.strerror}" if error.filename else str(error), FAILED)
    sys.exit(status if isinstance(status, int) else DONE)


def _usage(error: typer.TyperException) -> str:
    """Typer's words for a wrong use, in one line, and where the right one is described."""
    path = context.command_path if (context := getattr(error, "ctx", None)) else ""
    if hasattr(error, "possibilities") and isinstance(word := getattr(error, "option_name", None), str):
        return f"there is no option {word!r}{nearest(word, error.possibilities or [], path)}"
    text = " ".join(error.format_message().split())
    return f"{text.rstrip('.')}: see {path} --help" if path else text


def plain(text: str) -> str:
    """The text without what would steer a terminal or begin a line: devices write some of these texts."""
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)


def _end(text: str, status: int) -> NoReturn:
    """Say it, without what would steer a terminal, and end the process."""
    typer.echo("\n".join(map(plain, text.splitlines())), err=True)
    sys.exit(status)
