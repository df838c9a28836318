"""Makes logins for many devices at once, for controllers that get their login at production.

A broker with many logins takes long to add one over MQTT, but reads a file of 10,000 in less than a second. So
`provision` makes rows and a list of passwords; then a person stops the broker, has its file written anew from the
database (gateway/operators/recovery.py), and starts the broker.
"""

from __future__ import annotations

import csv
import io
import secrets
from collections.abc import Sequence
from pathlib import Path

import asyncpg

from gateway.errors import GatewayError
from gateway.logins.roles import new_password, new_salt, verifier
from schema.private import write_new
from schema.topics import ROOT, is_device_name

HEAD = ("device", "username", "password", "client_id", "topic", "generation")
REGISTER = "insert into devices (name) select unnest($1::text[]) on conflict do nothing"
NEXT = """
select d.name, d.device_id, d.state, coalesce((select max(generation) from credentials c
                                                where c.device_id = d.device_id), 0) + 1 as generation
  from devices d where d.name = any ($1) order by d.name for update"""
COLUMNS = ("username", "device_id", "cell", "generation", "client_id", "salt", "verifier", "applied", "by_hand")
MADE = "update credentials set applied_at = now(), activated_at = now() where username = any ($1)"
AUDIT = "insert into audit (who, action, subject, new, why) values ($1, 'logins provision', $2, $3, $4)"


class ProvisionRefused(GatewayError):
    """The logins cannot be made; none was made."""


async def provision(
    connection: asyncpg.Connection, cell: str, devices: Sequence[str], output: Path, *, who: str, why: str
) -> int:
    """Make a login for each of `devices`, all or none, registering new ones; return how many logins were made.

    The passwords are in `output`, a CSV file with the columns HEAD that its owner alone may read. It is on disk before
    the logins are committed: a kill in between leaves passwords that open nothing, never logins whose passwords nobody
    has. Raises ProvisionRefused, OSError, and exceptions of the database.
    """
    names = sorted(set(devices))
    bad = [name for name in names if not is_device_name(name)]
    if bad:
        raise ProvisionRefused(f"no device names: {', '.join(map(repr, bad[:10]))}")
    async with connection.transaction():
        await connection.execute(REGISTER, names)
        found = await connection.fetch(NEXT, names)
        barred = [row["name"] for row in found if row["state"] not in ("active", "pending")]
        if barred:
            raise ProvisionRefused(f"suspended, revoked or retired: {', '.join(barred[:10])}")
        text, records = _logins(found, cell)
        try:
            write_new(output, text)
        except FileExistsError as error:
            raise ProvisionRefused(f"{output} is there already, perhaps with passwords: name another file") from error
        try:
            await connection.copy_records_to_table("credentials", records=records, columns=COLUMNS)
            await connection.execute(MADE, [record[0] for record in records])
            await connection.execute(AUDIT, who, f"cell/{cell}", f'{{"logins": {len(records)}}}', why)
        except BaseException:  # not if COMMIT fails: the server may have committed all the same
            output.unlink()  # noqa: ASYNC240 - a command that does nothing else
            raise
    return len(records)


def _logins(found: Sequence[asyncpg.Record], cell: str) -> tuple[str, list[tuple[object, ...]]]:
    text = io.StringIO()
    lines = csv.writer(text)
    lines.writerow(HEAD)
    records: list[tuple[object, ...]] = []
    for row in found:
        name, generation = row["name"], row["generation"]
        username, password, salt, client_id = f"{name}.{generation}", new_password(), new_salt(), secrets.token_hex(16)
        lines.writerow((name, username, password, client_id, f"{ROOT}/{name}", generation))
        hashed = verifier(password, salt)
        records.append((username, row["device_id"], cell, generation, client_id, salt, hashed, "present", True))
    return text.getvalue(), records
