"""`claim-keys`, `import`, `imports`, `serials`, `block`, `unblock`: the controllers that may enroll by themselves."""

from __future__ import annotations

import hmac
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from gateway.operators.command import Count, Organization, Prefix, Surroundings, for_each, numbered
from gateway.secrets import Secrets, SecretsError
from gateway.secrets import claim_key as derived
from schema import serials
from schema.console import SURROUNDINGS, Who, Why, run, settings, stop, table, tell, time
from schema.enrollment import fingerprint
from schema.errors import Misused
from schema.private import write_new

IMPORTS = """
select i.name, i.quota, i.imported_at, count(s.serial) as serials, count(s.device_id) as enrolled
  from claim_imports i left join serials s using (import_id)
 group by i.import_id order by i.imported_at, i.name"""
SERIALS = """
select s.serial, s.device, s.claim_version, s.blocked, s.identity_key, d.state, i.name as import
  from serials s left join devices d using (device_id) left join claim_imports i using (import_id)
 where ($1::text is null or i.name = $1) order by s.serial"""


def claim_keys(
    serial: Annotated[list[str] | None, typer.Argument(metavar="SERIAL…", help="serial numbers")] = None,
    *,
    prefix: Prefix = None,
    count: Count = None,
    to: Annotated[Path | None, typer.Option(help="new file, for its owner alone; default: standard output")] = None,
) -> None:
    """Make claim keys for production, from the newest master key in BIOGATE_SECRETS_DIR.

    CSV: serial,claim_key,version. A claim key is 64 hexadecimal digits: 32 bytes.
    """
    chosen = numbered(serial, prefix, count)
    masters = _masters()
    if masters is None:
        raise Misused(f"BIOGATE_SECRETS_DIR is not set: it has the master keys{SURROUNDINGS}")
    version = max(masters)
    lines = [f"{one},{derived(masters[version], one).hex()},{version}\n" for one in chosen]
    text = "serial,claim_key,version\n" + "".join(lines)
    if to is None:
        sys.stdout.write(text)
        return
    try:
        write_new(to, text)
    except OSError as error:
        stop(f"{to} cannot be written: {error.strerror}")
    tell(f"{len(lines)} claim keys of version {version} are in {to}")


def import_(
    file: Annotated[Path, typer.Argument(help="CSV: serial[,device][,claim_key][,version]; - is standard input")],
    *,
    name: Annotated[str | None, typer.Option(help="of the import, which may exist; default: the file's")] = None,
    quota: Annotated[int | None, typer.Option(min=0, max=2**31 - 1, help="devices that may enroll with it")] = None,
    organization: Organization = None,
    why: Why,
    who: Who,
) -> None:
    """Let these controllers enroll by themselves: all of them, or none if a line is bad. Known ones are left alone."""
    called = name or ("stdin" if str(file) == "-" else file.stem)
    try:
        with nullcontext(sys.stdin.buffer) if str(file) == "-" else file.open("rb") as stream:
            content = stream.read(serials.MOST_BYTES + 1)
        if len(content) > serials.MOST_BYTES:
            stop(f"{file} is larger than {serials.MOST_BYTES // 2**20} MiB")
        rows = serials.from_csv(content.decode())
        _compare(rows)
    except OSError as error:
        stop(f"{file} cannot be read: {error.strerror}")
    except UnicodeDecodeError:
        stop(f"{file} is not UTF-8 text")
    except serials.ImportRefused as error:
        stop(f"{file}: {error}")

    batch = serials.SerialBatch(called, quota, organization)
    stored = run(lambda connection: serials.store(connection, rows, batch, who=who, why=why))
    if any(row.key and row.version for row in rows):
        typer.echo("claim keys of version 1 and up are not stored: the gateways derive them", err=True)
    tell(f"{stored.new} imported as {called}, {stored.known} known already and left as they were")


def imports() -> None:
    """List imports. Columns: name, its serials, how many of them have enrolled, quota, time."""
    table(
        "IMPORT|SERIALS|ENROLLED|QUOTA|IMPORTED",
        (
            (
                row["name"],
                row["serials"],
                row["enrolled"],
                "-" if row["quota"] is None else row["quota"],
                time(row["imported_at"]),
            )
            for row in run(lambda connection: connection.fetch(IMPORTS))
        ),
    )


def list_serials(
    import_name: Annotated[str | None, typer.Option("--import", metavar="NAME", help="only of this import")] = None,
) -> None:
    """List known serials. Columns: serial, device, its state, blocked, claim version, fingerprint, import."""
    table(
        "SERIAL|DEVICE|STATE|BLOCKED|CLAIM|FINGERPRINT|IMPORT",
        (
            (
                row["serial"],
                row["device"],
                row["state"] or "not enrolled",
                "blocked" if row["blocked"] else "-",
                row["claim_version"],
                fingerprint(row["identity_key"]) if row["identity_key"] else "-",
                row["import"] or "-",
            )
            for row in run(lambda connection: connection.fetch(SERIALS, import_name))
        ),
    )


Serials = Annotated[list[str], typer.Argument(metavar="SERIAL…", help="serial numbers")]


def block(serial: Serials, *, why: Why, who: Who) -> None:
    """Refuse handshakes of these serials, also those under way. Logins they have go on: see `revoke`."""
    _block(serial, True, who, why)


def unblock(serial: Serials, *, why: Why, who: Who) -> None:
    """Let these serials enroll again."""
    _block(serial, False, who, why)


def _block(chosen: list[str], blocked: bool, who: str, why: str) -> None:
    for_each(chosen, "select serial_block($1, $2, $3, $4)", blocked, who, why)
    for serial in dict.fromkeys(chosen):
        tell(f"{'blocked' if blocked else 'unblocked'}: {serial}")


def _compare(rows: list[serials.SerialRow]) -> None:
    """Where the master keys are at hand: are the claim keys of version 1 and up theirs? Raises ImportRefused."""
    masters = _masters() if any(row.version for row in rows) else None
    if masters is None:
        return
    problems = []
    for row in rows:
        if row.version and row.version not in masters:
            problems.append((row.line, f"there is no master key of version {row.version} in BIOGATE_SECRETS_DIR"))
        elif row.version and row.key and not hmac.compare_digest(row.key, derived(masters[row.version], row.serial)):
            problems.append(
                (row.line, f"claim_key is not the one that master key {row.version} makes for {row.serial}")
            )
    if problems:
        raise serials.BadSerialRows(problems)


def _masters() -> dict[int, bytes] | None:
    directory = settings(Surroundings).secrets_dir
    if directory is None:
        return None
    try:
        return dict(Secrets.load(directory).claims)
    except SecretsError as error:
        stop(str(error))
