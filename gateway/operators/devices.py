"""`register`, `list`, `show`, and what ends or changes a device's access: `suspend`, `resume`, `revoke` and so on."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Annotated

import asyncpg
import typer

from gateway.operators.command import Names, Organization, numbered, tell_all
from schema.console import Refused, Who, Why, run, table, tell, time, words
from schema.enrollment import fingerprint

REGISTER = """
with added as (insert into devices (name, organization_id)
               select distinct unnest($1::text[]), case when $4::text is not null then organization_number($4) end
                   on conflict do nothing returning name, organization_id)
insert into audit (organization_id, who, action, subject, why)
select organization_id, $2, 'device register', 'device/' || name, $3 from added order by name returning subject"""
LIST = """
select p.device, d.state, p.online, p.since, s.serial, c.usernames,
       exists (select from device_layouts where device_id = d.device_id) as has_sent
  from presence p
  join devices d using (device_id)
  left join serials s using (device_id)
  left join lateral (select array_agg(username order by generation) as usernames from credentials
                      where device_id = d.device_id and wanted <> 'absent') c on true
 order by p.device"""
FIND = """
select d.device_id, d.name, d.state, d.registered_at, d.renew, p.online, p.since, p.boot, p.firmware,
       exists (select from device_layouts where device_id = d.device_id) as has_sent
  from devices d join presence p using (device_id)
 where d.name = $1 or d.device_id = (select device_id from serials where serial = $1)
 order by d.name <> $1 limit 1"""
SERIAL = """
select s.serial, s.device, s.claim_version, s.blocked, s.identity_key, i.name as import
  from serials s left join claim_imports i using (import_id)
 where s.device = $1 or s.serial = $1 order by s.serial <> $1"""
LOGINS = """
select username, kind, by_hand, wanted, applied, created_at, activated_at, ended_at from credentials
 where device_id = $1 order by generation"""
HANDSHAKES = """
select txn, state, reason, identity_key, hardware, firmware, created_at from enrollments
 where serial = any ($1) order by created_at desc limit 3"""
AUDIT = """
select at, who, action, subject, old, new, why from audit where subject = any ($1) order by n desc limit $2"""
DONE = """
select d.name, d.renew, s.serial from devices d left join serials s on s.device = d.name
 where d.name = any ($1) order by d.name"""
NO_PROOF = """
select named.serial, max(a.at) as at from audit a, jsonb_array_elements_text(a.new -> 'serials') as named (serial)
 where organization_id = 1 and at > now() - interval '1 hour' and action = 'enrollment refused' and why = 'no-proof'
   and (named.serial = $1 or $1::text is null)
   and not exists (select from enrollments e where e.serial = named.serial and e.created_at > a.at)
 group by 1 order by 2 desc limit 10"""
SILENT = "no proof came; wrong claim key?"
"""A controller that cannot believe the challenge says nothing: docs/enrollment.md."""

CONSEQUENCES = {
    "suspend": "disable a device's logins, until `resume`",
    "resume": "end a suspension: the device's logins work again",
    "revoke": "delete a device's logins and block its serial, for good reasons such as a theft",
    "retire": "delete the logins of a device that is out of use and block its serial; its data stay",
    "rotate": "ask a device to enroll again; the login it has works until the new one was used",
    "reset": "forget a device's identity key: the next one that proves the claim key is taken",
}


def register(
    names: Annotated[list[str], typer.Argument(help="names as in the topics; known ones are left alone")],
    *,
    organization: Organization = None,
    why: Annotated[str, typer.Option(parser=words, metavar="TEXT", help="the reason, for the audit trail")] = "by hand",
    who: Who,
) -> None:
    """Accept messages of these devices from now on."""
    names = numbered(names, None, None)
    new = len(run(lambda connection: connection.fetch(REGISTER, names, who, why, organization)))
    tell(f"{new} registered, {len(names) - new} known already")


def list_devices() -> None:
    """List all devices. Columns: name, state, serial, logins, presence."""
    table(
        "DEVICE|STATE|SERIAL|LOGINS|PRESENCE",
        (
            (row["device"], row["state"], row["serial"] or "-", ", ".join(row["usernames"] or "-"), _presence(row))
            for row in run(lambda connection: connection.fetch(LIST))
        ),
    )


def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="of a device, or a serial")],
    *,
    events: Annotated[int, typer.Option("--audit", min=0, metavar="N", help="so many of the audit trail")] = 10,
) -> None:
    """Show a device: state, presence, serial, fingerprint, logins without their secrets, handshakes, audit trail."""

    async def read(connection: asyncpg.Connection) -> list[tuple[str, object]]:
        device = await connection.fetchrow(FIND, name)
        serial = await connection.fetchrow(SERIAL, device["name"] if device else name)
        if device is None and serial is None:
            raise Refused(f"there is no device and no serial {name}")
        lines: list[tuple[str, object]] = []
        if device is None:
            lines.append(("device", f"{serial['device']}, not enrolled"))
        else:
            renewal = f"; asked to renew logins below generation {device['renew']}" if device["renew"] else ""
            lines += [
                ("device", device["name"]),
                ("state", device["state"] + renewal),
                ("registered", time(device["registered_at"])),
                ("presence", _presence(device)),
            ]
            if device["since"] is not None:  # as its last status says
                lines += [("boot", device["boot"]), ("firmware", device["firmware"] or "-")]
        if serial is not None:
            blocked = ", blocked" if serial["blocked"] else ""
            source = f", import {serial['import']}" if serial["import"] else ""
            key = fingerprint(serial["identity_key"]) if serial["identity_key"] else "no identity key yet"
            lines += [
                ("serial", f"{serial['serial']}, claim version {serial['claim_version']}{source}{blocked}"),
                ("fingerprint", key),
            ]
        logins = await connection.fetch(LOGINS, device["device_id"]) if device else []
        lines += [("login", _login(row)) for row in logins]
        handshakes = await connection.fetch(HANDSHAKES, [serial["serial"]]) if serial else []
        lines += [("handshake", _handshake(row)) for row in handshakes]
        silent = await connection.fetch(NO_PROOF, serial["serial"]) if serial else []
        lines += [("handshake", f"{time(row['at'])}, {SILENT}") for row in silent]
        subjects = [f"device/{device['name']}"] if device else []
        subjects += [f"serial/{serial['serial']}"] if serial else []
        lines += [("audit", _event(row)) for row in await connection.fetch(AUDIT, subjects, events)]
        return lines

    tell_all(run(read))


def device_command(action: str) -> Callable[..., None]:
    """Make the command that applies `action`, a key of CONSEQUENCES, by the SQL function device_command."""

    def command(names: Names, *, why: Why, who: Who) -> None:
        async def work(connection: asyncpg.Connection) -> list[asyncpg.Record]:
            for name in sorted(set(names)):
                await connection.execute("select device_command($1, $2, $3, $4)", name, action, who, why)
            return list(await connection.fetch(DONE, names))

        for row in run(work, in_transaction=True):  # all of them or none
            tell(f"{row['name']}: {_done(action, row)}")

    command.__doc__ = CONSEQUENCES[action][0].upper() + CONSEQUENCES[action][1:] + "."
    return command


def _done(action: str, row: asyncpg.Record) -> str:
    match action:
        case "suspend":
            return "suspended; its logins are disabled"
        case "resume":
            return "active again; its logins work"
        case "rotate":
            return f"asked to enroll again (logins below generation {row['renew']})"
        case "reset":
            return "its identity key is forgotten" if row["serial"] else "has no serial: there is no key to forget"
    blocked = ", its serial is blocked" if row["serial"] else ""
    return f"{action}d; its logins are deleted{blocked}"


def _presence(row: asyncpg.Record) -> str:
    if row["since"] is None:
        return "no status yet" if row["has_sent"] else "never seen"
    return f"{'online' if row['online'] else 'offline'} since {time(row['since'])}"


def login_state(row: asyncpg.Record) -> str:
    """What the broker knows of a login, or is about to be told: `applied` and `wanted` in words."""
    if row["wanted"] == row["applied"]:
        return {"present": "works", "disabled": "disabled", "absent": "deleted"}[row["wanted"]]
    if row["applied"] == "absent":
        return "being made"
    return {"present": "being enabled", "disabled": "being disabled", "absent": "being deleted"}[row["wanted"]]


def _login(row: asyncpg.Record) -> str:
    parts = [row["username"], login_state(row), row["kind"], "by hand" if row["by_hand"] else "by handshake"]
    parts.append(f"made {time(row['created_at'])}")
    parts += [f"used {time(row['activated_at'])}"] if row["activated_at"] else []
    parts += [f"ended {time(row['ended_at'])}"] if row["ended_at"] else []
    return ", ".join(parts)


def _handshake(row: asyncpg.Record) -> str:
    parts = [time(row["created_at"]), row["state"]]
    parts += [row["reason"]] if row["reason"] not in {None, row["state"]} else []
    parts += [f"{name} {row[name]}" for name in ("hardware", "firmware") if row[name]]
    return ", ".join([*parts, f"fingerprint {fingerprint(row['identity_key'])}", row["txn"]])


def _event(row: asyncpg.Record) -> str:
    """One event of the audit trail, with the change of state and the login; the table `audit` has the rest."""
    old, new = (json.loads(row[name]) if row[name] else None for name in ("old", "new"))
    was = old.get("state") if isinstance(old, dict) else old
    now = new.get("state") if isinstance(new, dict) else None
    what = row["action"]
    if what.startswith("enrollment ") and isinstance(was, str):
        what = f"enrollment {was} → {what.removeprefix('enrollment ')}"
    elif now and now != was:
        what += f" {was} → {now}"
    login = f" {new['username']}" if isinstance(new, dict) and "username" in new else ""
    return f"{time(row['at'])} {row['who']}: {what}{login}: {row['why']}"
