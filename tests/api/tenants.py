"""Organizations with everything in them, each text of which can be told from all others: what another one sees of it is
a leak."""

from __future__ import annotations

import base64
import io
import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any
from uuid import uuid4

import asyncpg
import bcrypt
from pypdf import PdfWriter

from api.access.roles import Role, Scope
from api.access.tokens import access_proof, access_token, hashed, new_token
from api.shapes.reports import DOCUMENT
from schema.alarms.notification_routes import NotificationRoute
from tests.api import alarms
from tests.api.accounts import api_key, bearer, organization
from tests.api.plant import Plant, at
from tests.api.tenant_records import card, checkpointed, deviation, signed
from tests.roles import forced

CELL = "main"
KINDS = ("key", "program", "browser")


@dataclass
class Tenant:
    name: str
    organization_id: int = 0
    words: set[str] = field(default_factory=set)
    """Everything in it that nobody else shall see."""
    objects: dict[str, str] = field(default_factory=dict)
    """One of each, by the name of the path parameter that asks for it."""
    known: dict[str, str] = field(default_factory=dict)
    """More of its names, for queries and bodies."""
    of_device: dict[str, set[str]] = field(default_factory=dict)
    """The words that go with a device when that is given away, by its name, which stays in the giver's trail."""

    def word(self, most: int = 64) -> str:
        """A new one, that can be the name of anything."""
        word = f"zq{self.name}{len(self.words):03}z"
        assert len(word) <= most
        self.words.add(word)
        return word

    def secret(self, word: str) -> str:
        self.words.add(word)
        return word

    def shown(self, text: str, said: str = "") -> set[str]:
        """Its words in that text, but those that the question itself said; also as base64 has them."""
        return {word for word in self.words if word not in said and any(form in text for form in _forms(word))}


@cache
def _forms(word: str) -> list[str]:
    """As it is, and what of its base64 does not depend on what stands around it."""
    forms = [word]
    for ahead in range(3):
        encoded = base64.b64encode(b"\0" * ahead + word.encode()).decode().rstrip("=")
        forms.append(encoded[(0, 2, 3)[ahead] : -2])
    return forms


async def settle(sql: asyncpg.Connection, name: str, number: int) -> Tenant:
    """An organization with one of everything. `number` tells its figures from other ones'."""
    it = Tenant(name, await organization(sql, name))
    await sql.execute("update organizations set title = $2 where name = $1", name, it.word())
    await _devices(sql, it, number)
    await _describe(sql, it, None, "ph")
    await _computed(sql, it)
    await _runs(sql, it)
    await _report(sql, it)
    await _review(sql, it)
    await _alarms(sql, it)
    await _enrollment(sql, it)
    await _people(sql, it)
    await deviation(sql, it, number)
    await card(sql, it)
    await signed(sql, it)
    await sql.execute(
        "insert into audit (organization_id, who, action, subject, old, new, why) values ($1, $2, $3, $4, $5, $6, $7)",
        *(it.organization_id, it.word(), it.word(), f"device/{it.known['device']}"),
        *(json.dumps(it.word()), json.dumps({it.word(): it.word()}), it.word()),
    )
    await checkpointed(sql, it)
    return it


async def _devices(sql: asyncpg.Connection, it: Tenant, number: int) -> None:
    plant, before = Plant(sql), set(it.words)
    device = it.word()
    device_id = await sql.fetchval(
        "insert into devices (name, organization_id, title, location, tags) values ($1, $2, $3, $4, $5)"
        " returning device_id",
        *(device, it.organization_id, it.word(), it.word(), [it.word()]),
    )
    channel = it.word()
    layout = await plant.layout(device_id, channel, "ph")
    value = float(it.secret(f"{number}.{secrets.randbelow(10**9):09}7"))
    await plant.frames(device_id, layout, [(at(n), [value, value], [0, 1] if n else None) for n in range(3)])
    await _describe(sql, it, device_id, channel)
    await sql.execute(
        "insert into device_streams (device_id, boot, received) values ($1, $2, '{[0,3),[4,5)}')", device_id, number
    )
    await sql.execute(  # a clock that was set back, and is right again since
        """insert into late_arrivals (device_id, begins, ends, first_received, last_received, last_time, newest_time,
                                      newest_received)
           values ($1, $2, $2, $4, $4, $2, $3, $3)""",
        *(device_id, at(-200), at(-100), at(-1)),
    )
    await sql.execute(
        "insert into plot_hours (device_id, channel_id, hour, first) values ($1, 0, $2, $3)",
        device_id,
        at(-7200),
        value,
    )
    it.objects["model"] = it.word()
    await sql.execute("update devices set model = $2 where device_id = $1", device_id, it.objects["model"])
    await sql.execute("insert into plot_hours_stale values ($1, $2)", device_id, at(3600))
    await sql.execute("insert into plot_hours_until values ($1, $2)", device_id, at(7200))
    await _sealed(sql, it, device_id)
    await plant.status(device_id, number, at(0), True, it.word())
    await sql.execute("insert into device_heard values ($1, $2)", device_id, at(0))
    await plant.event(device_id, at(1), it.word(), {it.word(): it.word()})
    it.objects["quarantine"] = str(await plant.quarantine(at(2), device, "malformed", f"({it.word()})".encode()))
    await forced(
        sql,
        "update quarantine set detail = $2, content_type = $3 where quarantine_id = $1",
        *(int(it.objects["quarantine"]), it.word(), it.word()),
    )
    it.objects["annotation"] = str(
        await sql.fetchval(
            "insert into annotations (device_id, begins, text, who) values ($1, $2, $3, $4) returning annotation_id",
            *(device_id, at(1), it.word(), it.word()),
        )
    )
    it.objects["correction"] = str(number + 100)
    await sql.execute(
        """insert into corrections (organization_id, number, version, act, device_id, channel_id, begins, ends, quality,
                                    unit, deviation, who, why)
           select $1, $2, 1, 'make', $3, channel_id, $5, $6, 0, $7, $8, $9, $10 from channels where name = $4""",
        *(
            it.organization_id,
            number + 100,
            device_id,
            channel,
            at(1),
            at(2),
            it.word(),
            it.word(),
            it.word(),
            it.word(),
        ),
    )
    command, idempotency = uuid4(), it.word()
    await sql.execute(
        """insert into commands (command_id, organization_id, device_id, name, parameters, precondition, requested_by,
                                 why, idempotency_key, expires_at, detail, result)
           values ($1, $2, $3, $4, $5, $6, $7, $8, $9, now() + '1 hour', $10, $11)""",
        *(command, it.organization_id, device_id, it.word(), json.dumps({it.word(): 1}), json.dumps({it.word(): 1})),
        *(it.word(), it.word(), idempotency, it.word(), json.dumps({it.word(): 2})),
    )
    it.objects |= {"device": device, "command": it.secret(str(command))}
    it.of_device[device] = it.words - before - {device}
    it.objects["hold_id"] = str(
        await sql.fetchval(
            "insert into retention_holds (organization_id, device_id, who, why) values ($1, $2, $3, $4)"
            " returning hold_id",
            *(it.organization_id, device_id, it.word(), it.word()),
        )
    )
    it.objects["channel"] = channel
    it.known |= {"device": device, "channel": channel, "idempotency": idempotency}
    await _jobs(sql, it)
    await _lab(sql, it, device_id)
    await plant.imported(device_id, layout, [at(-300)])


async def _sealed(sql: asyncpg.Connection, it: Tenant, device_id: int) -> None:
    await sql.execute("insert into device_clocks values ($1, $2, 3, '0 s', '1 s')", device_id, at(-7200))
    await sql.execute("insert into stored_late values ($1, $2, 1, $2)", device_id, at(0))
    await sql.execute("insert into seals_until values ($1, $2)", device_id, at(7200))
    pass_id = await sql.fetchval(
        "insert into seal_passes (organization_id, n) values ($1, 1) returning pass", it.organization_id
    )
    layouts, text = it.word(), it.word()
    await sql.execute("insert into seal_layouts values ($1, $2)", layouts.encode(), layouts)
    await sql.execute(
        "insert into seals values ($1, $2, $3, 1, $3, $4, $5, $6)",
        *(it.organization_id, device_id, at(-7200), pass_id, layouts.encode(), text),
    )


async def _jobs(sql: asyncpg.Connection, it: Tenant) -> None:
    """One that runs, so that it can be cancelled, and has files."""
    job = uuid4()
    await sql.execute(
        """insert into jobs (job_id, organization_id, who, kind, request, state, unit, holder, beat_at, result, error,
                             file_bytes)
           values ($1, $2, $3, 'export', $4, 'running', $5, $6, now(), $7, $8, 1)""",
        *(job, it.organization_id, it.word(), json.dumps({it.word(): it.word()}), it.word(), it.word()),
        *(json.dumps({it.word(): it.word()}), it.word()),
    )
    it.objects["job"] = it.secret(str(job))


async def _lab(sql: asyncpg.Connection, it: Tenant, device_id: int) -> None:
    """A sample with an analyte, and a record of material."""
    said = {"taken_at": at(1).isoformat(), "location": it.word(), "note": it.word()}
    analyte = {"analyte": it.word(), "reading": it.word(), "method": it.word(), "unit": it.word(20)}
    analyte |= {"status": "measured", "measured_by": it.word()}
    it.objects["sample"] = await sql.fetchval(
        "select lab_sample_put($1, $2, $3, 0, 'take', $4, $5, 'person', null, $6, $7)",
        *(it.organization_id, device_id, it.word(), json.dumps(said), json.dumps([analyte]), it.word(), it.word()),
    )
    said = {"kind": "feed", "material": it.word(), "lot": it.word(), "quantity": "1", "unit": "mL", "note": it.word()}
    it.objects["material"] = str(
        await sql.fetchval(
            "select material_put($1, $2, null, 0, 'add', $3, 'person', null, $4, $5)",
            *(it.organization_id, device_id, json.dumps(said | {"begins": at(1).isoformat()}), it.word(), it.word()),
        )
    )


async def _describe(sql: asyncpg.Connection, it: Tenant, device_id: int | None, channel: str) -> None:
    """Somebody says something of a channel: of one device, or of all."""
    change = json.dumps({"unit": it.word(), "title": it.word()})
    await sql.execute(
        "select channel_describe($1, $2, $3, $4, null, null, $5, $6)",
        *(it.organization_id, device_id, channel, change, it.word(), it.word()),
    )


async def _computed(sql: asyncpg.Connection, it: Tenant) -> None:
    """A computed channel, with a constant of the device."""
    name, constant = it.word(), it.word()
    definition: dict[str, Any] = {"formula": f"ph * {constant}", "inputs": {"ph": None}, "constants": {constant: None}}
    definition |= {"title": it.word(), "source": it.word(), "unit": "1", "decimals": 1, "max_age": "5m"}
    who = it.word(), it.word()
    await sql.execute(
        "select computed_channel_put($1, $2, $3, null, $4, $5)", it.organization_id, name, json.dumps(definition), *who
    )
    await sql.execute(
        "select computed_constants_set($1, device_id, $2, null, $3, $4) from devices where name = $5",
        *(it.organization_id, json.dumps({constant: 1.5}), *who, it.known["device"]),
    )
    it.objects["computed"] = name


async def _runs(sql: asyncpg.Connection, it: Tenant) -> None:
    """A run of the device, with a phase."""
    name, who = it.word(), (it.word(), it.word())
    facts = {key: it.word() for key in ("material", "strain", "recipe", "recipe_version", "note")}
    await sql.execute(
        "select run_create($1, $2, array(select device_id from devices where name = $3), $4, $5, $6, $7)",
        *(it.organization_id, name, it.known["device"], at(-60), json.dumps(facts), *who),
    )
    phase = {"name": it.word(), "begins": at(-50).isoformat(), "ends": None, "origin": "person"}
    await sql.execute(
        "select run_phases_put($1, $2, $3, null, $4, $5)", it.organization_id, name, json.dumps([phase]), *who
    )
    it.objects["run"] = name
    it.known |= {"phase": phase["name"] or ""}


async def _report(sql: asyncpg.Connection, it: Tenant) -> None:
    """A report of the run, and a template."""
    definition = {"sections": [{"name": "notes", "title": it.word()}], "header": it.word()}
    await sql.execute(
        "insert into report_templates (organization_id, name, version, kind, definition, made_by)"
        " values ($1, $2, 1, 'batch', $3, $4)",
        *(it.organization_id, name := it.word(), json.dumps(definition), it.word()),
    )
    document = json.dumps(DOCUMENT | {"title": it.word()}).encode()
    report = await sql.fetchval(
        "insert into reports (report_id, organization_id, kind, run_id, title, subtitle, begins, ends, template,"
        " template_version, made_by, made_at, document, html, pdf)"
        " select gen_random_uuid(), $1, 'batch', run_id, $3, $4, now() - interval '1 h', now(), $5, 1, $6, now(),"
        " $7, $7, $8 from runs where organization_id = $1 and name = $2 returning report_id",
        *(it.organization_id, it.objects["run"], it.word(), it.word(), name, it.word(), document),
        _pdf(it.word()),
    )
    it.objects |= {"report": str(report), "template": name}


def _pdf(title: str) -> bytes:
    """A PDF of one empty page."""
    writer, made = PdfWriter(), io.BytesIO()
    writer.add_blank_page(72, 72)
    writer.add_metadata({"/Title": title})
    writer.write(made)
    return made.getvalue()


async def _review(sql: asyncpg.Connection, it: Tenant) -> None:
    """A review of the run, in which somebody has looked at something. Its number is nobody else's."""
    key = secrets.token_hex(8)
    said = {name: it.word() for name in ("what", "device", "who", "subject", "before", "after", "why")}
    exceptions = [{"key": key, "kind": "rule", "at": "2026-03-01T10:00:00.000000Z", "n": 1, **said}]
    number = 1000 + it.organization_id
    await sql.execute(
        "insert into reviews (organization_id, number, version, run_id, devices, begins, ends, n, hash, exceptions,"
        " routine, who) select $1, $3, 1, run_id, $4, $5, $6, 1, $7, $8, $9, $10 from runs where organization_id = $1"
        " and name = $2",
        *(it.organization_id, it.objects["run"], number, [it.word()], at(-60), at(60), it.word()),
        *(json.dumps(exceptions), json.dumps({it.word(): 1}), it.word()),
    )
    await sql.execute(
        "insert into review_looks (organization_id, number, key, note, who) values ($1, $2, $3, $4, $5)",
        *(it.organization_id, number, key, it.word(), it.word()),
    )
    it.objects["review"] = str(number)
    it.known["exception"] = key


async def _alarms(sql: asyncpg.Connection, it: Tenant) -> None:
    """A rule, its alarm on the device, and what somebody asks for."""
    device_id = await sql.fetchval("select device_id from devices where name = $1", it.known["device"])
    name = it.word()
    channel = {"kind": "formula", "expression": f"{it.word()} > 1"}
    texts = {"title": it.word(), "message": it.word(), "response": it.word()}
    rule_id = await alarms.rule(sql, name, it.organization_id, when=channel, scope={"tags": [it.word()]}, **texts)
    await alarms.become(sql, rule_id, device_id, detail=it.word(), by=(it.word(), it.word()))
    silenced = replace(alarms.ACTIVE, suppressed=True)
    await alarms.become(sql, rule_id, device_id, silenced, detail=it.word(), by=(it.word(), it.word()))
    act = await sql.fetchval(
        "insert into alarm_acts (rule_id, device_id, organization_id, action, who, why)"
        " values ($1, $2, $3, 'acknowledge', $4, $5) returning act_id",
        *(rule_id, device_id, it.organization_id, it.word(), it.word()),
    )
    it.objects |= {"rule": name, "act": str(act)}
    await _route(sql, it, rule_id, device_id)


async def _route(sql: asyncpg.Connection, it: Tenant, rule_id: int, device_id: int) -> None:
    """Somebody to be told of it, and what is still to be told."""
    name = it.word()
    definition = NotificationRoute(devices=[it.word()], tags=[it.word()]).model_dump_json()
    route_id = await sql.fetchval(
        "insert into alarm_routes (organization_id, name, definition, url, address, last_error)"
        " values ($1, $2, $3, $4, $5, $6) returning route_id",
        *(it.organization_id, name, definition, it.word().encode(), f"mailto://{it.word()}", it.word()),
    )
    await sql.execute(
        "insert into alarm_notifications (route_id, kind, transition_id, rule_id, device_id, n, due_at)"
        " select $1, 'raised', transition_id, rule_id, device_id, n, now() from alarm_transitions"
        " where rule_id = $2 and device_id = $3",
        *(route_id, rule_id, device_id),
    )
    it.objects["route"] = name


async def _enrollment(sql: asyncpg.Connection, it: Tenant) -> None:
    """Its device's login; a serial that waits for an operator."""
    await sql.execute("insert into cells (cell, client_id) values ($1, 'cell-secret') on conflict do nothing", CELL)
    await sql.execute("insert into intake_totals (cell, kind) values ($1, 'frame') on conflict do nothing", CELL)
    import_id = await sql.fetchval(
        "insert into claim_imports (name) values ($1) returning import_id",
        it.word() if it.organization_id == 1 else f"for {it.name}",
    )
    serial, txn = it.word(), it.secret(secrets.token_hex(16))
    await sql.execute(
        "insert into serials (serial, device, import_id, organization_id) values ($1, $2, $3, $4)",
        *(serial, it.word(), import_id, it.organization_id),
    )
    await sql.execute(
        """insert into enrollments (txn, cell, serial, identity_key, claim_version, state, reason, hello, challenge,
                                    transcript, keys, proof, hardware, firmware, channels)
           values ($1, $2, $3, sha256($1::text::bytea), 1, 'awaiting', $4, 'h', 'c', 't', 'k', 'p', $5, $6, $7)""",
        *(txn, CELL, serial, it.word(), it.word(), it.word(), [it.word()]),
    )
    username = it.secret(f"{it.known['device']}.1")
    await sql.execute(
        """insert into credentials (username, device_id, cell, generation, client_id, salt, verifier, applied)
           select $1, device_id, $2, 1, $3, 'salt', 'verifier', 'present' from devices where name = $4""",
        *(username, CELL, it.word(), it.known["device"]),
    )
    it.objects |= {"serial": serial, "txn": txn, "username": username}
    it.known |= {"serial": serial, "txn": txn}


async def _people(sql: asyncpg.Connection, it: Tenant) -> None:
    email = f"{it.word()}@example.org"
    user_id = await sql.fetchval(
        "insert into users (email, name, password_hash) values ($1, $2, $3) returning user_id",
        *(email, it.word(), it.secret(bcrypt.hashpw(new_token().encode(), bcrypt.gensalt(4)).decode())),
    )
    await sql.execute("insert into memberships values ($1, $2, 'admin')", it.organization_id, user_id)
    session_id, token = await session(sql, user_id, "program", it.word())
    invitation_id = await sql.fetchval(
        "insert into invitations (organization_id, role, code_hash, uses, invited_by, expires_at)"
        " values ($1, 'viewer', $2, 3, $3, now() + '1 day') returning invitation_id",
        *(it.organization_id, hashed(it.word()), it.word()),
    )
    key = await api_key(sql, it.name, Role.ADMIN)
    key_id = it.secret(key.split("_")[1])
    await sql.execute("update api_keys set name = $2, created_by = $3 where key_id = $1", key_id, it.word(), it.word())
    it.objects |= {"user_id": str(user_id), "session_id": str(session_id), "key_id": key_id}
    it.objects |= {"invitation_id": str(invitation_id)}
    it.known |= {"email": email, "token": token}


async def session(sql: asyncpg.Connection, user_id: int, kind: str, agent: str = "test") -> tuple[int, str]:
    """A log-in of theirs: its number and token."""
    token = new_token()
    family = hashed(token) if kind == "program" else None
    number = await sql.fetchval(
        "insert into sessions (user_id, kind, token_hash, family_hash, expires_at, agent)"
        " values ($1, $2, $3, $4, now() + '1 day', $5) returning session_id",
        *(user_id, kind, hashed(token), family, agent),
    )
    return int(number), token


async def give(sql: asyncpg.Connection, giver: Tenant, taker: Tenant) -> None:
    """The giver's device, with all that it has sent, is the taker's."""
    device = giver.known["device"]
    await sql.execute("select set_config('biogate.organization', $1, false)", str(giver.organization_id))
    await sql.execute("select api.device_give($1, $2, 'eva', 'sold')", device, taker.name)
    names = ("device", "channel", "annotation", "correction", "quarantine", "command")
    taker.objects |= {name: giver.objects[name] for name in names}
    taker.known |= {name: giver.known[name] for name in ("device", "channel")}
    words = taker.of_device[device] = giver.of_device.pop(device)
    taker.words |= words
    giver.words -= words


@dataclass(frozen=True)
class Visitor:
    """Makes valid credentials of each kind, new ones each time: some routes end those they are called with."""

    sql: asyncpg.Connection
    organization: str
    jwt_key: bytes
    cookie: str

    async def headers(
        self, kind: str, role: Role = Role.ADMIN, scopes: frozenset[Scope] = frozenset(Scope)
    ) -> Mapping[str, str]:
        if kind == "key":
            return bearer(await api_key(self.sql, self.organization, role, scopes))
        user_id = await self.member(role)
        number, token = await session(self.sql, user_id, kind)
        if kind == "program":
            return bearer(access_token(number, user_id, access_proof(token), self.jwt_key, 600))
        return {"Cookie": f"{self.cookie}={token}", "Sec-Fetch-Site": "same-origin"}

    async def member(self, role: Role) -> int:
        """Somebody new."""
        user_id = await self.sql.fetchval(
            "insert into users (email, name, password_hash) values ($1, 'Visitor', '$2b$04$' || repeat('.', 53))"
            " returning user_id",
            f"visitor-{time.monotonic_ns()}-{secrets.token_hex(3)}@example.org",
        )
        await self.sql.execute(
            "insert into memberships select organization_id, $2, $3 from organizations where name = $1",
            *(self.organization, user_id, str(role)),
        )
        return int(user_id)
