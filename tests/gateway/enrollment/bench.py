"""Controllers and operators around the steps of enrollment, and what the administration of logins would do."""

from __future__ import annotations

import json
import secrets as random
from dataclasses import dataclass, field
from typing import Any

import asyncpg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.enrollment.requests import read
from gateway.enrollment.steps import SILENCE, EnrollmentReply, Steps
from gateway.runtime.database import Pool
from gateway.secrets import Secrets, claim_key
from gateway.settings import Settings
from schema.enrollment import Hello
from schema.sealed import seal
from tests.gateway.enrollment.handshake import Handshake, Login


@dataclass
class Controller:
    serial: str
    psk: bytes = field(repr=False)
    claim: int = 1
    identity: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate, repr=False)

    def handshake(self, **other: Any) -> Handshake:
        return Handshake(self.serial, self.psk, self.identity, **{"claim": self.claim, **other})


class Bench:
    def __init__(self, pool: Pool, secrets: Secrets, settings: Settings) -> None:
        self.pool, self.secrets, self.settings = pool, secrets, settings
        self.steps = Steps(settings, secrets, pool)

    def with_settings(self, **changes: Any) -> Bench:
        return Bench(self.pool, self.secrets, self.settings.model_copy(update=changes))

    # -- controllers

    def stranger(self, serial: str | None = None) -> Controller:
        """With a claim key of the master; nobody knows its serial."""
        serial = serial or f"S-{random.token_hex(4)}"
        return Controller(serial, claim_key(self.secrets.claims[1], serial))

    async def controller(
        self, serial: str | None = None, *, lot: str = "lot", quota: int | None = None, own_key: bool = False
    ) -> Controller:
        """Imported, as device `d-<serial>`."""
        made = self.stranger(serial)
        sealed = None
        if own_key:
            made.psk, made.claim = random.token_bytes(32), 0
            sealed = seal(self.secrets.vault.public_key().public_bytes_raw(), made.psk, f"serials/{made.serial}")
        await self.pool.execute(
            "select serials_import($1, $2, $3, $4, $5, $6, 'olga', 'delivered')",
            *([made.serial], [f"d-{made.serial}"], [made.claim], [sealed], lot, quota),
        )
        return made

    # -- the handshake

    async def send(self, handshake: Handshake, payload: bytes) -> EnrollmentReply:
        request = read(handshake.txn, payload, retained=False)
        if isinstance(request, Hello):
            return await self.steps.hello(payload, request)
        return await self.steps.proof(payload, request)

    async def challenged(self, controller: Controller, **other: Any) -> Handshake:
        """HELLO and CHALLENGE; the proof is ready."""
        handshake = controller.handshake(**other)
        handshake.challenged(said(await self.send(handshake, handshake.hello)))
        return handshake

    async def proved(self, controller: Controller, **other: Any) -> Handshake:
        """The login is being made."""
        handshake = await self.challenged(controller, **other)
        assert await self.send(handshake, handshake.proof) == SILENCE
        return handshake

    async def granted(self, controller: Controller, **other: Any) -> tuple[Handshake, Login]:
        """The login is made, and not used yet."""
        handshake = await self.proved(controller, **other)
        await self.made()
        return handshake, handshake.granted(said(await self.send(handshake, handshake.proof)))

    # -- others

    async def made(self) -> None:
        """The broker is as wanted."""
        await self.pool.execute(
            """with made as (
                   update credentials set applied = wanted, applied_at = now() where wanted <> applied returning *
               )
               update enrollments e set state = 'granted', changed_at = now(),
                                        expires_at = now() + $1 * interval '1 s'
                 from made where e.username = made.username and made.wanted = 'present' and e.state = 'provisioning'""",
            self.settings.enroll_unused_s,
        )

    async def used(self, login: Login, boot: int = 1) -> None:
        """The device has published a status under it."""
        await self.pool.execute(
            """insert into statuses (device_id, boot, time, online, received_at, generation)
               select device_id, $2, now(), true, now(), $3 from devices where name = $1""",
            *(login.device, boot, login.generation),
        )
        assert await self.pool.fetchval("select credentials_activate('main')") == login.username

    async def approve(self, handshake: Handshake, device: str | None = None) -> None:
        await self.pool.execute("select enrollment_approve($1, $2, 'olga', 'seen it')", handshake.txn, device)

    async def command(self, device: str, action: str) -> None:
        await self.pool.execute("select device_command($1, $2, 'olga', 'so be it')", device, action)

    async def row(self, handshake: Handshake) -> asyncpg.Record:
        return await self.pool.fetchrow("select * from enrollments where txn = $1", handshake.txn)

    async def state(self, handshake: Handshake) -> tuple[str, str | None]:
        row = await self.row(handshake)
        return ("none", None) if row is None else (row["state"], row["reason"])

    async def logins(self) -> dict[str, str]:
        """Those that are wanted: username → state."""
        rows = await self.pool.fetch("select username, wanted from credentials where wanted <> 'absent'")
        return {row["username"]: row["wanted"] for row in rows}


def said(answer: EnrollmentReply) -> dict[str, Any]:
    """A reply, decoded."""
    assert answer.payload is not None, answer
    decoded = json.loads(answer.payload)
    assert isinstance(decoded, dict)
    return decoded


async def refused(bench: Bench, handshake: Handshake, payload: bytes) -> str:
    """The code with which it is rejected."""
    answer = await bench.send(handshake, payload)
    reply = said(answer)
    assert (reply["type"], reply["txn"], reply["code"]) == ("reject", handshake.txn, answer.refusal)
    return str(reply["code"])


async def transitions(bench: Bench, controller: Controller) -> list[str]:
    rows = await bench.pool.fetch(
        "select action from audit where subject = $1 order by n", f"serial/{controller.serial}"
    )
    return [row["action"] for row in rows]


async def kept(bench: Bench) -> int:
    """How many handshakes are stored, and how many locks of ours are held."""
    return int(
        await bench.pool.fetchval(
            "select (select count(*) from enrollments) + (select count(*) from pg_locks where locktype = 'advisory'"
            " and database = (select oid from pg_database where datname = current_database()))"
        )
    )
