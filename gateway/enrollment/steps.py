"""One request, one transaction: the facts, the decision, and what follows from it.

Raises FAILURES of gateway/runtime/database.py: nothing has happened then, and the device will repeat its request.
"""

from __future__ import annotations

import secrets as random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec
import structlog
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.x509 import random_serial_number

from gateway.enrollment import decisions, handshake, store
from gateway.enrollment.decisions import (
    Ask,
    Await,
    Check,
    Hold,
    Known,
    Limits,
    Provision,
    Refuse,
    Send,
    Session,
)
from gateway.enrollment.handshake import Keys, Unusable
from gateway.errors import GatewayError
from gateway.logins.roles import new_password, new_salt, verifier
from gateway.runtime.database import Pool, Transaction
from gateway.secrets import Secrets, claim_key
from gateway.settings import Settings
from schema.enrollment import EnrollmentReject, Hello, Identity, Pending, Proof, Refusal, b64
from schema.sealed import Unreadable, seal, unseal
from schema.topics import ROOT

log = structlog.get_logger()

TRIES = 3
SOON_S = 5
"""When to ask again while a login is being made."""


class Answer(NamedTuple):
    """What to reply, if anything. `refusal`: why nothing came of it; `recorded`: which the audit trail says already."""

    payload: bytes | None
    refusal: Refusal | None = None
    recorded: bool = False
    serial: str | None = None
    """Whose it was, if that is known."""


SILENCE = Answer(None)


class Steps:
    def __init__(self, settings: Settings, secrets: Secrets, pool: Pool) -> None:
        self._settings = settings
        self._secrets = secrets
        self._pool = pool
        self._vault = secrets.vault.public_key().public_bytes_raw()
        self._limits = Limits(settings.enroll_sessions, settings.enroll_tries_per_minute)

    async def hello(self, payload: bytes, hello: Hello) -> Answer:
        """To a HELLO."""
        return await again(lambda: self._hello(payload, hello))

    async def proof(self, payload: bytes, proof: Proof) -> Answer:
        """To a PROOF. Silence: the grant follows when the login has been made."""
        return await again(lambda: self._proof(payload, proof))

    async def resume(self, txn: str) -> Answer:
        """When something was done about a handshake: approved, or its login was made."""
        return await again(lambda: self._resume(txn))

    # -- each in a transaction

    async def _hello(self, payload: bytes, hello: Hello) -> Answer:
        try:
            identity = handshake.public_key(hello.identity)
        except Unusable:
            return refuse(Refusal.MALFORMED, hello.txn)
        async with self._step(alone=True) as connection:
            session = await store.session(connection, hello.txn)
            if session is not None:
                return _sent(decisions.greet_again(self._settings.cell, session, payload), hello.txn)
            known = await store.known(connection, hello.serial)
            load = await store.load(connection, self._settings.cell, hello.serial, identity)
            masters = self._secrets.claims
            decision = decisions.greet(hello, identity, known, masters=masters, load=load, limits=self._limits)
            if not isinstance(decision, Ask):
                return _sent(decision, hello.txn)
            expires_s = self._settings.enroll_challenge_s
            try:
                asked = handshake.challenge(
                    payload,
                    hello,
                    self._claim_key(hello, known),
                    self._secrets.gateway,
                    ephemeral=X25519PrivateKey.generate(),
                    nonce=random.token_bytes(handshake.NONCE_BYTES),
                    expires_s=expires_s,
                )
            except Unusable:
                return refuse(Refusal.MALFORMED, hello.txn)
            except Unreadable as error:
                log.error("a claim key cannot be read: import it again", serial=hello.serial, error=str(error))
                return refuse(Refusal.UNKNOWN_CLAIM, hello.txn)
            await store.begin(
                connection,
                self._settings.cell,
                hello,
                identity=identity,
                payload=payload,
                challenge=asked.reply,
                transcript=asked.transcript,
                keys=seal(self._vault, asked.keys.pack(), _place(hello.txn)),
                expires_s=expires_s,
            )
            return Answer(asked.reply)

    async def _proof(self, payload: bytes, proof: Proof) -> Answer:
        async with self._step() as connection:
            session = await store.session(connection, proof.txn, decide=True)
            decision = decisions.hear(self._settings.cell, session, payload)
            if not isinstance(decision, Check):
                return self._heard(decision, proof.txn)
            assert session is not None
            keys = self._keys(session)
            known = await store.known(connection, session.serial)
            right = handshake.is_proof(proof, session.identity_key, keys, session.transcript)
            judgement = decisions.judge(
                session,
                known,
                await store.load(connection, self._settings.cell, session.serial, session.identity_key),
                self._limits,
                right=right,
                certificate_usable=self._certificate_usable(proof),
            )
            if isinstance(judgement, Await):
                approval_s = self._settings.enroll_approval_s
                await store.wait(connection, session, payload, judgement.reason, approval_s)
                return self._heard(Hold("approval"), proof.txn)
            if isinstance(judgement, Provision):
                assert known is not None
                return await self._provision(connection, session, known, payload)
            answer = await self._refuse(connection, judgement, proof.txn, payload if right else None)
            return answer._replace(serial=session.serial)

    async def _resume(self, txn: str) -> Answer:
        async with self._step() as connection:
            session = await store.session(connection, txn, decide=True)
            known = None if session is None else await store.known(connection, session.serial)
            decision = decisions.resume(session, known, self._settings.cell)
            if isinstance(decision, Provision):
                assert session is not None
                assert known is not None
                assert session.proof is not None
                return await self._provision(connection, session, known, session.proof)
            if isinstance(decision, Refuse):
                return (await self._refuse(connection, decision, txn))._replace(recorded=True)
            return Answer(decision.payload) if isinstance(decision, Send) else SILENCE

    async def _provision(self, connection: Transaction, session: Session, known: Known, proof: bytes) -> Answer:
        """Make the login and the grant, and store both."""
        keys = self._keys(session)
        try:
            async with connection.transaction():
                device_id, state = await store.device(connection, known.device)
                if state in decisions.BARRED:
                    raise Barred
                numbers = await store.numbers(connection, device_id)
                credential, identity = self._login(known.device, device_id, numbers, proof)
                await store.pin(connection, session, device_id)
                th3 = handshake.transcript(session.hello, handshake.body_of(session.challenge), proof)
                nonce = random.token_bytes(handshake.BOX_NONCE_BYTES)
                reply = handshake.grant(session.txn, identity, keys, th3, nonce)
                await store.provision(
                    connection, self._settings.cell, session, proof=proof, reply=reply, credential=credential
                )
        except Barred:
            return await self._refuse(connection, Refuse(Refusal.BLOCKED, ends=True), session.txn, proof)
        except Unusable:
            return await self._refuse(connection, Refuse(Refusal.CERTIFICATE, ends=True), session.txn, proof)
        return SILENCE

    async def _refuse(self, connection: Transaction, decision: Refuse, txn: str, proof: bytes | None = None) -> Answer:
        """`proof`: the right one. Who has given it is worth an audit event of its own."""
        if decision.ends:
            await store.end(connection, txn, decision.code, proof)
        return refuse(decision.code, txn)._replace(recorded=decision.ends and proof is not None)

    # -- what it takes

    @asynccontextmanager
    async def _step(self, *, alone: bool = False) -> AsyncIterator[Transaction]:
        async with self._pool.acquire() as connection, connection.transaction():
            await store.turn(connection, self._settings.cell, alone=alone)
            yield connection

    def _login(
        self, device: str, device_id: int, numbers: store.Numbers, proof: bytes
    ) -> tuple[store.Credential, Identity]:
        """A new login, as it is stored and as the device is told. Raises Unusable if a certificate cannot be issued."""
        username = f"{device}.{numbers.generation}"
        client_id = random.token_hex(16)
        credential = store.Credential(username, device_id, numbers.generation, client_id)
        identity = Identity(
            device=device,
            username=username,
            client_id=client_id,
            broker=str(self._settings.device_broker_url),
            topic=f"{ROOT}/{device}",
            generation=numbers.generation,
            boot=numbers.boot,
        )
        csr = handshake.csr_of(msgspec.json.decode(proof, type=Proof))
        if csr:
            authority, broker = self._secrets.authority, self._settings.device_certificate_broker_url
            if authority is None or broker is None:
                raise Unusable("certificates are not issued here")
            serial = random_serial_number()
            issued = handshake.certificate(csr, username, authority, datetime.now(UTC), serial)
            credential = credential._replace(certificate_serial=serial.to_bytes(20, "big"))
            return credential, msgspec.structs.replace(identity, broker=str(broker), certificate=b64(issued))
        password, salt = new_password(), new_salt()
        sealed = seal(self._vault, password.encode(), f"credentials/{username}")
        return (
            credential._replace(password=sealed, salt=salt, verifier=verifier(password, salt)),
            msgspec.structs.replace(identity, password=password),
        )

    def _certificate_usable(self, proof: Proof) -> bool:
        """None is asked for, or one can be issued."""
        if not proof.csr:
            return True
        if self._secrets.authority is None or self._settings.device_certificate_broker_url is None:
            return False
        try:
            handshake.certificate_key(handshake.csr_of(proof))
        except Unusable:
            return False
        return True

    def _claim_key(self, hello: Hello, known: Known | None) -> bytes:
        """`decisions.has_claim` has said that there is one."""
        if known is not None and known.claim_key is not None:
            return unseal(self._secrets.vault, known.claim_key, f"serials/{hello.serial}")
        return claim_key(self._secrets.claims[hello.claim], hello.serial)

    def _keys(self, session: Session) -> Keys:
        assert session.keys is not None, "they are there until a login is made"
        return Keys.unpack(unseal(self._secrets.vault, session.keys, _place(session.txn)))

    def _heard(self, decision: Send | Hold | Refuse, txn: str) -> Answer:
        if not isinstance(decision, Hold):
            return _sent(decision, txn)
        seconds = SOON_S if decision.soon else self._settings.enroll_pending_s
        return Answer(msgspec.json.encode(Pending(txn=txn, retry_after_s=seconds, reason=decision.reason)))


class Barred(GatewayError):
    """The device was suspended, revoked or retired in the meantime."""


async def again(step: Callable[[], Awaitable[Answer]]) -> Answer:
    """Once more if two steps were in each other's way."""
    for _ in range(TRIES - 1):
        try:
            return await step()
        except store.CONFLICTS:
            continue
    return await step()


def refuse(code: Refusal, txn: str) -> Answer:
    reject = EnrollmentReject(txn=txn, code=code.value, retry_after_s=decisions.retry_after_s(code, txn))
    return Answer(msgspec.json.encode(reject), code)


def _sent(decision: Send | Refuse, txn: str) -> Answer:
    return refuse(decision.code, txn) if isinstance(decision, Refuse) else Answer(decision.payload)


def _place(txn: str) -> str:
    """Where the keys of a handshake are sealed for."""
    return f"enrollments/{txn}"
