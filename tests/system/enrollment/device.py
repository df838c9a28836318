"""A controller written from docs/enrollment.md alone: what it keeps in flash, and how it gets its login."""

from __future__ import annotations

import asyncio
import json
import random
import ssl
import time
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import mqtt5
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.gateway.enrollment.handshake import Handshake, Login
from tests.mqtt import Client, Message, Refused, tls


class Rejected(Exception):
    """The handshake is over."""

    def __init__(self, code: str, retry_after_s: int | None) -> None:
        super().__init__(f"{code}, again after {retry_after_s} s")
        self.code, self.retry_after_s = code, retry_after_s


class Waiting(Exception):
    """An operator has to say something first, and we were told not to wait for it."""

    def __init__(self, reason: str, retry_after_s: int) -> None:
        super().__init__(f"pending: {reason}")
        self.reason, self.retry_after_s = reason, retry_after_s


@dataclass(frozen=True)
class Door:
    """Where to enroll: what a technician sets."""

    port: int
    password: str
    authority: Path

    @cached_property
    def context(self) -> ssl.SSLContext:
        return tls(self.authority)

    async def open(self, client_id: str, **more: Any) -> Client:
        return await Client.connect(self.port, client_id, "enroll", self.password, context=self.context, **more)


class Line:
    """A connection to the door for one handshake, made anew as often as it breaks."""

    def __init__(self, door: Door, handshake: Handshake, first_wait_s: float = 2.0) -> None:
        self.replies: list[bytes] = []
        """Everything that came, as it came."""
        self._door, self._handshake, self._first_wait_s = door, handshake, first_wait_s
        self._client: Client | None = None

    async def __aenter__(self) -> Line:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._client is not None:
            await self._client.close()

    async def client(self) -> Client:
        """Connected and subscribed. Raises OSError, Refused, TimeoutError."""
        if self._client is None or self._client.ended.done():
            client = await self._door.open(self._handshake.client_id)
            assert await client.subscribe(self._handshake.reply) == [1]
            self._client = client
        return self._client

    async def ask(self, payload: bytes, *types: str, patience_s: float = 60) -> dict[str, Any]:
        """Publish until a reply of one of these types comes, or a reject, or word that an operator has to agree; others
        are late ones of an earlier step. Raises TimeoutError, and Refused when the broker does not let us in."""
        loop = asyncio.get_running_loop()
        wait, give_up = self._first_wait_s, loop.time() + patience_s
        while loop.time() < give_up:
            again_at = loop.time() + wait * random.uniform(0.75, 1.25)
            wait = min(wait * 2, 60)
            try:
                client = await self.client()
                await client.publish(self._handshake.request, payload)
                while (left := min(again_at, give_up) - loop.time()) > 0:
                    reply = self._read(await client.next(left))
                    if reply.get("type") in (*types, "reject"):
                        return reply
                    if reply.get("type") == "pending":
                        if reply.get("reason") == "approval":
                            return reply
                        again_at = loop.time() + reply["retry_after_s"]
            except (OSError, TimeoutError):
                await asyncio.sleep(max(0, min(again_at, give_up) - loop.time()))
        raise TimeoutError(f"no reply in {patience_s:g} s")

    def _read(self, message: Message) -> dict[str, Any]:
        self.replies.append(message.payload)
        try:
            said = json.loads(message.payload)
        except ValueError:
            return {}
        return said if isinstance(said, dict) and said.get("txn") == self._handshake.txn else {}


@dataclass
class Device:
    """A controller. What is here is in its flash."""

    serial: str
    psk: bytes
    identity: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    claim: int = 1
    gateway: bytes | None = None
    login: Login | None = None
    boot: int | None = None
    """None: lost, or never begun."""
    seq: int = 0

    def handshake(self, **other: Any) -> Handshake:
        return Handshake(self.serial, self.psk, self.identity, gateway=self.gateway, **{"claim": self.claim, **other})

    async def enroll(
        self,
        door: Door,
        *,
        patience_s: float = 60,
        first_wait_s: float = 2.0,
        wait_for_operator: bool = False,
        handshake: Handshake | None = None,
    ) -> Login:
        """All four steps; again from the start when told to come back soon. Raises Rejected, Waiting, TimeoutError."""
        async with asyncio.timeout(patience_s):
            while True:
                try:
                    return await self._enroll(
                        door, handshake or self.handshake(), patience_s, first_wait_s, wait_for_operator
                    )
                except Rejected as reject:
                    if reject.code not in ("busy", "closed", "expired") or reject.retry_after_s is None or handshake:
                        raise
                    await asyncio.sleep(reject.retry_after_s)

    async def _enroll(
        self, door: Door, handshake: Handshake, patience_s: float, first_wait_s: float, wait_for_operator: bool
    ) -> Login:
        async with Line(door, handshake, first_wait_s) as line:

            async def step(payload: bytes, wanted: str) -> dict[str, Any]:
                while True:
                    reply = await line.ask(payload, wanted, patience_s=patience_s)
                    if reply["type"] == "reject":
                        raise Rejected(reply["code"], reply.get("retry_after_s"))
                    if reply["type"] != "pending":
                        return reply
                    if not wait_for_operator:
                        raise Waiting(reply.get("reason", ""), reply["retry_after_s"])
                    with_luck_sooner = asyncio.ensure_future(self._pushed(line, wanted))
                    done, _ = await asyncio.wait([with_luck_sooner], timeout=reply["retry_after_s"])
                    if done:
                        reply = with_luck_sooner.result()
                        if reply["type"] == "reject":
                            raise Rejected(reply["code"], reply.get("retry_after_s"))
                        return reply
                    with_luck_sooner.cancel()

            proof = handshake.challenged(await step(handshake.hello, "challenge"))
            return self.keep(handshake, await step(proof, "grant"))

    def keep(self, handshake: Handshake, grant: dict[str, Any]) -> Login:
        """Open the grant; what is in it goes into flash. Raises Untrusted."""
        login = handshake.granted(grant)
        self.gateway, self.login = handshake.gateway, login
        if self.boot is None or self.boot < login.boot - 1:
            self.boot, self.seq = login.boot, 0
        return login

    async def _pushed(self, line: Line, wanted: str) -> dict[str, Any]:
        """A reply may come without being asked for again, once an operator has agreed."""
        while True:
            reply = line._read(await (await line.client()).next(3600))
            if reply.get("type") in (wanted, "reject"):
                return reply

    async def connect(self, authority: Path, *, first: bool = True, **more: Any) -> Client:
        """To the broker with the login, and say that we are online. Raises Refused."""
        login = self.login
        assert login is not None
        t = int(time.time() * 1000)
        client = await Client.connect(
            login.port,
            login.client_id,
            login.username,
            login.password,
            **{
                "context": tls(authority),
                "clean": first,
                "will": mqtt5.Will(
                    f"{login.topic}/status",
                    payload=self.status("offline", t),
                    qos=mqtt5.QoS.AT_LEAST_ONCE,
                    retain=True,
                ),
                **more,
            },
        )
        if await client.publish(f"{login.topic}/status", self.status("online", t), retain=True) >= 0x80:
            raise Refused(0x87)
        return client

    def status(self, word: str, t: int) -> bytes:
        assert self.login is not None
        return json.dumps({"status": word, "t": t, "boot": self.boot, "generation": self.login.generation}).encode()

    def frame(self) -> bytes:
        """The next one."""
        said = {"boot": self.boot, "seq": self.seq, "t": int(time.time() * 1000), "v": {"ph": 7.0, "temperature": 37.0}}
        self.seq += 1
        return json.dumps(said).encode()
