"""`biogate keys show|change|resume`: the key that signs the audit trails, in the directory of the signing process."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import asyncpg
import typer

from schema.command_line import commands
from schema.console import Refused, Who, Why, run, tell
from schema.evidence.key_files import ask_to_resume, change_key, load_keys
from schema.evidence.keys import key_id, public_pem, read_change

app = commands(
    "The key that signs the audit trails. DIR is BIOGATE_EVIDENCE_DIR; `biogate setup secrets` makes secrets/evidence."
)

Directory = Annotated[Path, typer.Argument(metavar="DIR", envvar="BIOGATE_EVIDENCE_DIR", help="where the key is")]


@app.command()
def show(directory: Directory) -> None:
    """Print the names of all keys that have signed, and the public key that signs now: keep it elsewhere."""
    keys = load_keys(directory)
    for change in keys.changes:
        key, before = read_change(change.text)
        tell(key_id(key), f"after {before}" if before else "the first")
    typer.echo(public_pem(keys.private), nl=False)


@app.command()
def change(directory: Directory) -> None:
    """Make a new key. Both sign the change, and the process signs with the new one from its next look on."""
    try:
        old, new = change_key(directory)
    except OSError as error:
        raise Refused(f"no key was made in {directory}: {error.strerror}") from error
    tell(f"{new} takes over from {old}; the process tells database, file and broker at its next look")


@app.command()
def resume(directory: Directory, who: Who, why: Why, organization: str = "main") -> None:
    """Have the process go on with an organization whose trail is not what was signed, such as after a restore.

    Who says so and why stands in the trail; a verification tells of it for ever.
    """

    async def work(connection: asyncpg.Connection) -> int | None:
        found: int | None = await connection.fetchval(
            "select organization_id from organizations where name = $1", organization
        )
        return found

    its_id = run(work)
    if its_id is None:
        raise Refused(f"there is no organization {organization}")
    try:
        ask_to_resume(directory, its_id, who, why)
    except OSError as error:
        raise Refused(f"nothing was written in {directory}: {error.strerror}") from error
    tell(f"{organization}: signing goes on at the next look of the process")
