"""Handles a request in one transaction: it reads the facts, decides, and stores and replies what follows.

A step that raises FAILURES of gateway/runtime/database.py has done nothing, and the device will repeat its request.
"""

from __future__ import annotations

import secrets as random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import NamedTuple, ParamSpec

import msgspec
import structlog
from cryptography.x509 import random_serial_number

from gateway.enrollment import decisions, handshake, store
from gateway.enrollment.challenges import SALT_BYTES, ChallengeSecret, minute_of
from gateway.enrollment.decisions import (
    Ask,
    Await,
    Check,
    EnrollmentSession,
    KnownSerial,
    Limits,
    Provision,
    Refuse,
    SendAgain,
    SendPending,
)
from gateway.enrollment.handshake import HandshakeKeys, HandshakeRefused, IssuedChallenge
from gateway.enrollment.pace import HelloPace
from gateway.enrollment.requests import UnreadableRequest, hello_of
from gateway.errors import GatewayError, words_of
from gateway.logins.roles import new_password, new_salt, verifier
from gateway.runtime.database import Pool, PoolConnection
from gateway.secrets import Secrets, claim_key
from gateway.settings import Settings
from schema.enrollment import EnrollmentReject, Hello, Identity, Pending, Proof, Refusal, b64, unb64
from schema.messages import MOST_PACKET
from schema.sealed import Unreadable, seal, unseal
from schema.topics import ROOT

log = structlog.get_logger()
P = ParamSpec("P")

TRIES = 3
SOON_S = 5
"""Seconds after which a device is to ask again while its login is being made."""


class EnrollmentReply(NamedTuple):
    """The reply to a device, if any. `refusal` is why its request was refused; `recorded`: the audit trail has that."""

    payload: bytes | None
    refusal: Refusal | None = None
    recorded: bool = False
    serial: str | None = None
    """The serial number of the device, if it is known."""


SILENCE = EnrollmentReply(None)


def repeated(step: Callable[P, Awaitable[EnrollmentReply]]) -> Callable[P, Awaitable[EnrollmentReply]]:
    """Make a step run again if it collided with another one, up to TRIES times."""

    async def repeating(*args: P.args, **kwargs: P.kwargs) -> EnrollmentReply:
        for _ in range(TRIES - 1):
            with suppress(*store.CONFLICTS):
                return await step(*args, **kwargs)
        return await step(*args, **kwargs)

    return repeating


class Steps:
    def __init__(self, settings: Settings, secrets: Secrets, pool: Pool) -> None:
        self._settings = settings
        self._secrets = secrets
        self._pool = pool
        self._vault = secrets.vault.public_key().public_bytes_raw()
        self._pace = HelloPace(settings.enroll_hellos_per_s)
        self._limits = Limits(settings.enroll_sessions, settings.enroll_tries_per_minute)

    @repeated
    async def hello(self, payload: bytes, hello: Hello) -> EnrollmentReply:
        """Handle a HELLO, which came as `payload`: nothing is locked or kept, as the sender has proved nothing."""
        try:
            identity = handshake.identity_key(hello.identity)
            async with self._pool.acquire() as connection:
                session = await store.seen(connection, hello.txn)
                if session is not None:
                    return _sent(decisions.greet_again(self._settings.cell, session, payload), hello.txn)
                known = await store.known(connection, hello.serial)
                switched_on = await store.is_open(connection, self._settings.cell)
                masters = self._secrets.claims
                decision = decisions.greet(hello, identity, known, masters=masters, switched_on=switched_on)
                if not isinstance(decision, Ask):
                    return _sent(decision, hello.txn)
                if not await self._pace.admits(hello.serial, identity, known):
                    return refuse(Refusal.BUSY, hello.txn)
                minute, salt = await store.salt(connection, random.token_bytes(SALT_BYTES))
            return EnrollmentReply(self._challenge(payload, hello, known, minute, salt).reply)
        except HandshakeRefused:
            return refuse(Refusal.MALFORMED, hello.txn)
        except Unreadable as error:
            log.error("a claim key cannot be read: import it again", serial=hello.serial, error=words_of(error))
            return refuse(Refusal.UNKNOWN_CLAIM, hello.txn)

    @repeated
    async def proof(self, payload: bytes, proof: Proof) -> EnrollmentReply:
        """Handle a PROOF, which came as `payload`. SILENCE: the grant follows when the login has been made."""
        async with self._step() as connection:
            session = await store.session(connection, proof.txn, decide=True)
            if session is None:
                refusal = await self._keep(connection, proof)
                if refusal is not None:
                    return refusal
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
                return self._heard(SendPending("approval"), proof.txn)
            if isinstance(judgement, Provision):
                assert known is not None
                return await self._provision(connection, session, known, payload)
            answer = await self._refuse(connection, judgement, proof.txn, payload if right else None)
            return answer._replace(serial=session.serial)

    async def _keep(self, connection: PoolConnection, proof: Proof) -> EnrollmentReply | None:  # noqa: PLR0911
        """Check a proof of which no handshake is stored, and store the handshake if the proof is right and there is a
        place for it. Otherwise return the refusal, and keep nothing."""
        settings = self._settings
        try:
            payload, hello = hello_of(proof)
            identity = handshake.identity_key(hello.identity)
            minute = minute_of(proof)
            salt = await store.provable_salt(connection, minute, settings.enroll_challenge_s)
            if salt is None:
                return refuse(Refusal.EXPIRED, proof.txn)
            known = await store.known(connection, hello.serial)
            if not decisions.has_claim(hello.claim, known, self._secrets.claims):
                return refuse(Refusal.UNKNOWN_CLAIM, proof.txn)._replace(serial=hello.serial)
            asked = self._challenge(payload, hello, known, minute, salt)
        except (UnreadableRequest, HandshakeRefused, Unreadable):
            return refuse(Refusal.MALFORMED, proof.txn)
        if handshake.body_of(asked.reply) != unb64(proof.body):  # another cell's, by other settings, or made up
            return refuse(Refusal.EXPIRED, proof.txn)
        if not handshake.is_proof(proof, identity, asked.keys, asked.transcript):
            return refuse(Refusal.REFUSED, proof.txn)._replace(serial=hello.serial)
        await store.turn(connection, settings.cell, alone=True)  # places are counted one by one
        if await store.seen(connection, proof.txn) is not None:  # the same request came twice
            return None
        load = await store.load(connection, settings.cell, hello.serial, identity)
        enrolls = known is not None and known.identity_key in {None, identity}
        if not decisions.has_place(load, self._limits, known=enrolls):
            return refuse(Refusal.BUSY, proof.txn)._replace(serial=hello.serial)
        await store.begin(
            connection,
            settings.cell,
            hello,
            identity=identity,
            payload=payload,
            challenge=asked.reply,
            transcript=asked.transcript,
            keys=seal(self._vault, asked.keys.pack(), _place(hello.txn)),
            expires_s=settings.enroll_challenge_s,
        )
        return None

    @repeated
    async def resume(self, txn: str) -> EnrollmentReply:
        """Go on with a handshake that an operator has approved, or whose login was made."""
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
            return EnrollmentReply(decision.payload) if isinstance(decision, SendAgain) else SILENCE

    async def _provision(
        self, connection: PoolConnection, session: EnrollmentSession, known: KnownSerial, proof: bytes
    ) -> EnrollmentReply:
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
                await store.claim(connection, session, device_id)
                th3 = handshake.transcript(session.hello, handshake.body_of(session.challenge), proof)
                nonce = random.token_bytes(handshake.BOX_NONCE_BYTES)
                reply = handshake.grant(session.txn, identity, keys, th3, nonce)
                await store.provision(
                    connection, self._settings.cell, session, proof=proof, reply=reply, credential=credential
                )
        except Barred:
            return await self._refuse(connection, Refuse(Refusal.BLOCKED, ends=True), session.txn, proof)
        except HandshakeRefused:
            return await self._refuse(connection, Refuse(Refusal.CERTIFICATE, ends=True), session.txn, proof)
        return SILENCE

    async def _refuse(
        self, connection: PoolConnection, decision: Refuse, txn: str, proof: bytes | None = None
    ) -> EnrollmentReply:
        """Refuse, and end the handshake if `decision` says so. One with a right `proof` has its own audit event."""
        if decision.ends:
            await store.end(connection, txn, decision.code, proof)
        return refuse(decision.code, txn)._replace(recorded=decision.ends and proof is not None)

    # -- parts of the steps

    @asynccontextmanager
    async def _step(self) -> AsyncIterator[PoolConnection]:
        async with self._pool.acquire() as connection, connection.transaction():
            await store.turn(connection, self._settings.cell)
            yield connection

    def _challenge(
        self, payload: bytes, hello: Hello, known: KnownSerial | None, minute: int, salt: bytes
    ) -> IssuedChallenge:
        """The challenge for a HELLO. Raises HandshakeRefused, or Unreadable if the stored claim key is damaged."""
        secret = ChallengeSecret.of(self._secrets.vault, self._settings.cell, minute, salt)
        psk = self._claim_key(hello, known)
        expires_s = self._settings.enroll_challenge_s
        return secret.challenge(payload, hello, psk, self._secrets.gateway, expires_s=expires_s)

    def _login(
        self, device: str, device_id: int, numbers: store.NextLogin, proof: bytes
    ) -> tuple[store.Credential, Identity]:
        """Make a login, as stored and as sent. Raises HandshakeRefused if its certificate cannot be issued."""
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
            max_packet=MOST_PACKET,
        )
        csr = handshake.csr_of(msgspec.json.decode(proof, type=Proof))
        if csr:
            authority, broker = self._secrets.authority, self._settings.device_certificate_broker_url
            if authority is None or broker is None:
                raise HandshakeRefused("certificates are not issued here")
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
        """Whether the proof asks for no certificate, or one can be issued."""
        if not proof.csr:
            return True
        if self._secrets.authority is None or self._settings.device_certificate_broker_url is None:
            return False
        try:
            handshake.certificate_key(handshake.csr_of(proof))
        except HandshakeRefused:
            return False
        return True

    def _claim_key(self, hello: Hello, known: KnownSerial | None) -> bytes:
        """The claim key of a serial that has one, as `decisions.has_claim` says."""
        if known is not None and known.claim_key is not None:
            return unseal(self._secrets.vault, known.claim_key, f"serials/{hello.serial}")
        return claim_key(self._secrets.claims[hello.claim], hello.serial)

    def _keys(self, session: EnrollmentSession) -> HandshakeKeys:
        assert session.keys is not None, "they are there until a login is made"
        return HandshakeKeys.unpack(unseal(self._secrets.vault, session.keys, _place(session.txn)))

    def _heard(self, decision: SendAgain | SendPending | Refuse, txn: str) -> EnrollmentReply:
        if not isinstance(decision, SendPending):
            return _sent(decision, txn)
        seconds = SOON_S if decision.soon else self._settings.enroll_pending_s
        return EnrollmentReply(msgspec.json.encode(Pending(txn=txn, retry_after_s=seconds, reason=decision.reason)))


class Barred(GatewayError):
    """The device was suspended, revoked or retired since the decision."""


def refuse(code: Refusal, txn: str) -> EnrollmentReply:
    reject = EnrollmentReject(txn=txn, code=code.value, retry_after_s=decisions.retry_after_s(code, txn))
    return EnrollmentReply(msgspec.json.encode(reject), code)


def _sent(decision: SendAgain | Refuse, txn: str) -> EnrollmentReply:
    return refuse(decision.code, txn) if isinstance(decision, Refuse) else EnrollmentReply(decision.payload)


def _place(txn: str) -> str:
    """The place that the keys of a handshake are sealed for."""
    return f"enrollments/{txn}"
