"""docs/commands.md out of the code: `python -m tests.command_reference > docs/commands.md`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from deploy.command import HIDDEN, WORDS, found
from schema.command_line import Group

HEAD = """# Commands

Made from the code by `python -m tests.command_reference > docs/commands.md`; a test says so.

`biogate` is the one command for all of Biogate. In a checkout it is `.venv/bin/biogate`. `. .venv/bin/activate` puts it
on the PATH of a shell. So does `set -a; . .stack/env; set +a` while `make up` runs, which also sets the addresses of
database, broker and API. (`.stack/env` adds a directory to the PATH that has `biogate` and nothing else.) In a
container it is on the PATH: `docker compose exec gateway biogate …`. The help of each command has its options and
further words: `biogate devices login --help`.

Commands read servers, files and logins from the environment: [reference.md](reference.md). A command that fails writes
a line on standard error, and ends with an [exit code](reference.md#exit-codes). Tables begin with a line of headings;
in a pipe tabs separate their cells. `eval "$(biogate completion bash)"` in a shell's start file completes words with
the tab key; likewise zsh, and fish (`biogate completion fish | source`).
"""


def leaves(name: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """A command with those below it: their words, and what they are."""
    command = found(name)
    if not isinstance(command, Group) or command.invoke_without_command:
        yield (name,), command
    if isinstance(command, Group):
        for word, one in command.commands.items():
            yield (name, word), one


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for title, words in {**WORDS, "For containers": HIDDEN}.items():
        parts.append(f"\n## {title}\n")
        for name, (_, line) in words.items():
            below = [(path, one) for path, one in leaves(name) if len(path) > 1]
            parts.append(f"- `biogate {name}`: {line}")
            parts += [f"  - `biogate {' '.join(path)}`: {one.get_short_help_str(200)}" for path, one in below]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    print(page(), end="")
