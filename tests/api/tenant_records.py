"""What people of a tenant have recorded: a deviation, a card, a place, the log of a shift."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import asyncpg

if TYPE_CHECKING:
    from tests.api.tenants import Tenant


async def deviation(sql: asyncpg.Connection, it: Tenant, number: int) -> None:
    """One with a link, a comment of two versions and a file. `number` makes its own another's nothing."""
    device_id = await sql.fetchval("select device_id from devices where name = $1", it.known["device"])
    deviation_id, name = await sql.fetchrow(
        "insert into deviations (organization_id, year, n, title, description, severity, tags, members, opened_by,"
        " hold_id) values ($1, 2026, $2, $3, $4, 'major', $5, $6, $7, $8) returning deviation_id, deviation",
        *(it.organization_id, 100 + number, it.word(), it.word(), [it.word()]),
        *(json.dumps([{"who": it.word(), "role": "owner"}]), it.word(), int(it.objects["hold_id"])),
    )
    it.objects["link"] = str(
        await sql.fetchval(
            "insert into deviation_links (deviation_id, type, kind, reference, device_id, who, why)"
            " values ($1, 'seen-in', 'device', $2, $3, $4, $5) returning link_id",
            *(deviation_id, it.known["device"], device_id, it.word(), it.word()),
        )
    )
    it.known["written"] = it.word()
    await sql.execute(
        "update deviations set title = $2 where deviation_id = $1", deviation_id, f"{it.known['written']} {it.word()}"
    )
    comment = await sql.fetchval("select nextval('deviation_comment_ids')")
    await sql.executemany(
        "insert into deviation_comments (comment_id, version, deviation_id, text, who) values ($1, $2, $3, $4, $5)",
        [(comment, version, deviation_id, it.word(), it.word()) for version in (1, 2)],
    )
    content = it.word().encode()
    it.objects["attachment"] = str(
        await sql.fetchval(
            "insert into deviation_attachments (deviation_id, name, media_type, bytes, sha256, content, who)"
            " values ($1, $2, 'text/plain', $3, sha256($4), $4, $5) returning attachment_id",
            *(deviation_id, it.word(), len(content), content, it.word()),
        )
    )
    it.objects |= {"deviation": name, "comment": str(comment)}


async def card(sql: asyncpg.Connection, it: Tenant) -> None:
    """A card of the device, a place, and the log of a shift."""
    device_id = await sql.fetchval("select device_id from devices where name = $1", it.known["device"])
    probe = {"serial": it.word(), "kind": it.word(), "due_on": "2026-01-01"}
    await sql.execute(
        "insert into device_cards (organization_id, device_id, card, due_on) values ($1, $2, $3, '2026-01-01')",
        *(it.organization_id, device_id, json.dumps({"description": it.word(), "model": it.word(), "probes": [probe]})),
    )
    it.objects["path"] = it.word()
    await sql.execute(
        "insert into locations (organization_id, path, kind, description) values ($1, $2, 'hall', $3)",
        *(it.organization_id, it.objects["path"], it.word()),
    )
    it.objects["entry"] = str(
        await sql.fetchval(
            "insert into shift_entries (organization_id, text, location, devices, who, handed_to)"
            " values ($1, $2, $3, $4, $5, $6) returning entry_id",
            *(it.organization_id, it.word(), it.word(), [device_id], it.word(), it.word()),
        )
    )


async def signed(sql: asyncpg.Connection, it: Tenant) -> None:
    """What the organization demands, a signature of its sample, and an act that waits for a second person."""
    await sql.execute(
        "insert into policies (organization_id, meanings) values ($1, $2)", it.organization_id, [it.word()]
    )
    await sql.execute(
        "insert into signatures (organization_id, record, version, digest, meaning, name, who, user_id, at, form, text)"
        " select $1, 'sample/' || $2, 1, record_digest($3), $4, $5, $6, user_id, now(), $3, $7"
        " from memberships where organization_id = $1",
        *(it.organization_id, it.objects["sample"], it.word(), it.word(), it.word(), it.word(), it.word()),
    )
    it.objects["pending"] = str(
        await sql.fetchval(
            "insert into pending_acts (organization_id, kind, subject, request, who, why, expires_at)"
            " values ($1, 'deviations', $2, $3, $4, $5, now() + interval '1 h') returning act_id",
            *(it.organization_id, f"deviation/{it.objects['deviation']}", json.dumps({"deviation": it.word()})),
            *(it.word(), it.word()),
        )
    )


async def checkpointed(sql: asyncpg.Connection, it: Tenant) -> None:
    """A checkpoint of its audit trail, and a key, which is nobody's."""
    await sql.execute(
        "insert into checkpoints (organization_id, number, n, at, text, signature, key_id)"
        """ select organization_id, 1, n, now(), format('{"hash":"%s","n":%s}', encode(hash, 'hex'), n), '', $2"""
        "   from audit where organization_id = $1 order by n desc limit 1",
        *(it.organization_id, it.word()),
    )
    await sql.execute(
        "insert into evidence_keys (key_id, at, text, signature) values ('k', now(), '{}', '') on conflict do nothing"
    )
