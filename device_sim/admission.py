"""Gives each device access to the broker: by the login that all share, or by one of its own, for which it enrolls."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeAlias

import msgspec
from cryptography import x509

from device_sim.connection import Broker, ConnectionFailed, NotAuthorized
from device_sim.entrance import PlantGate, shake
from device_sim.identity import DeviceLogin, Keeper
from schema.enrollment import Renewal, unb64

EXPIRY_CHECK = 3600.0
"""Seconds between two checks of a certificate's expiry."""
SWITCH_AGAIN = 5.0
"""Seconds until the next try after the new login could not be used."""


@dataclass(frozen=True)
class DeviceAccess:
    """A broker, and the client id under which a device connects to it."""

    broker: Broker
    client_id: str
    generation: int | None = None
    """The generation of the login; None if it does not come from an enrollment."""


class SharedAdmission:
    """One login, or none, for all devices, with each device's name as client id."""

    def __init__(self, broker: Broker, name: str) -> None:
        self._access = DeviceAccess(broker, name)

    async def access(self) -> DeviceAccess:
        """Return the access, waiting until there is one. Raises ConnectionFailed."""
        return self._access

    async def refused(self, _: DeviceAccess) -> float | None:
        """Note that the broker refused the login. Return the seconds to wait; None: as after other failures."""
        return None

    def used(self, _: DeviceAccess) -> None:
        """Note that the broker has acknowledged a status published with this login."""

    renewal = None
    """The handler of messages on the identity topic; None if the device does not subscribe to it."""


class EnrolledAdmission:
    """Keeps a device in possession of a login of its own; the methods are those of SharedAdmission."""

    def __init__(
        self, keeper: Keeper, entrance: PlantGate, joined: Callable[[DeviceLogin], None], say: Callable[[str], None]
    ) -> None:
        """`joined` is called with each new login, and with the present one, before it is used."""
        self.keeper = keeper
        self._entrance, self._joined, self._say = entrance, joined, say
        self._renew = 0
        """Logins of an older generation than this are to be replaced."""
        self._refused_since: float | None = None
        self._locked_out = False
        """Whether the login was refused for so long that the device needs another one."""
        self._used: DeviceAccess | None = None
        self._admitted, self._changed = asyncio.Event(), asyncio.Event()
        if keeper.state.newest:
            joined(keeper.state.newest)
            self._admitted.set()

    async def run(self, switch: Callable[[DeviceAccess], Awaitable[None]], delay: float) -> None:
        """Enroll, for ever, when it is time to, after `delay` seconds; `switch` moves the device to a newer login."""
        await asyncio.sleep(delay)
        while True:
            self._changed.clear()
            state = self.keeper.state
            if state.granted and self._used and self._used.generation == state.granted.generation:
                await asyncio.to_thread(self.keeper.used)
            elif state.granted and not self._locked_out:
                await self._go_over(switch, state.granted)
            elif state.handshake or self._locked_out or state.login is None or self._outdated(state.login):
                await self._enroll()
            else:
                await self._change(EXPIRY_CHECK)

    async def access(self) -> DeviceAccess:
        while (login := self.keeper.state.newest) is None:
            await self._admitted.wait()
        return self._access(login)

    async def refused(self, access: DeviceAccess) -> float | None:
        state, pace, now = self.keeper.state, self._entrance.pace, time.monotonic()
        if self._refused_since is None:
            self._refused_since = now
        if state.granted and state.login and state.granted.generation == access.generation:
            self._renew = max(self._renew, state.granted.generation)
            # too late: the granted login was deleted, and the one before should work
            await asyncio.to_thread(self.keeper.give_up)
        elif now - self._refused_since >= pace.enroll_again:
            self._locked_out = True
        self._changed.set()
        return pace.refused * random.uniform(1.0, 1.1)

    def used(self, access: DeviceAccess) -> None:
        self._refused_since, self._locked_out, self._used = None, False, access
        self._changed.set()

    def renewal(self, payload: bytes, _: float) -> None:
        if not payload:
            return  # the request to enroll again was withdrawn
        try:
            self._renew = msgspec.json.decode(payload, type=Renewal).renew
        except msgspec.DecodeError as error:
            self._say(f"{self.keeper.serial}: a message on the identity topic cannot be read: {error}")
            return
        self._changed.set()

    def _access(self, login: DeviceLogin) -> DeviceAccess:
        return DeviceAccess(self._entrance.broker_of(login), login.identity.client_id, login.generation)

    async def _enroll(self) -> None:
        keeper, pace = self.keeper, self._entrance.pace
        if keeper.state.login is None:
            self._admitted.clear()  # before the grant is dropped, so that nobody looks for a login that is gone
        if keeper.state.granted:
            await asyncio.to_thread(keeper.give_up)  # the grant is refused, so its handshake leads to nothing
        over = await shake(keeper, self._entrance, self._say, lambda _: None)
        if over:
            self._say(f"{keeper.serial}: enrollment was refused: {over.code}")
            seconds = pace.without_operator if over.seconds is None else max(pace.repeat, over.seconds)
            await asyncio.sleep(seconds * random.uniform(1.0, 1.25))
            return
        self._refused_since, self._locked_out = None, False
        assert keeper.state.granted
        self._joined(keeper.state.granted)
        self._admitted.set()

    async def _go_over(self, switch: Callable[[DeviceAccess], Awaitable[None]], login: DeviceLogin) -> None:
        try:
            access = self._access(login)
            try:
                await switch(access)
            except NotAuthorized:
                await self.refused(access)
                raise
        except ConnectionFailed as error:
            self._say(f"{self.keeper.serial}: {error}")
        await self._change(SWITCH_AGAIN)

    async def _change(self, seconds: float) -> None:
        """Wait for a change, at most so many seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()

    def _outdated(self, login: DeviceLogin) -> bool:
        """Whether a renewal was asked for, or a third or less of the certificate's life is left."""
        if login.generation < self._renew:
            return True
        if not login.identity.certificate:
            return False
        certificate = x509.load_der_x509_certificate(unb64(login.identity.certificate))
        begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        return datetime.now(UTC) > end - (end - begin) / 3


DeviceAdmission: TypeAlias = SharedAdmission | EnrolledAdmission
