"""Keeps the file of a device's identity: its keys, its handshake under way, its login.

The file is JSON with a checksum in the last line. Each change is on the disk before it counts, and replaces the file as
a whole: a device that is killed at any moment finds the state before the change or after it.
"""

from __future__ import annotations

import os
import threading
import zlib
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from device_sim.claims import Claim
from device_sim.handshake import ControllerSecrets, DeviceHandshake, Granted
from schema.enrollment import Identity


class Damaged(ValueError):
    """Raised when another program has changed the file."""


class DeviceLogin(msgspec.Struct, frozen=True):
    identity: Identity
    key: bytes = b""
    """The certificate's private key, PEM."""

    @property
    def generation(self) -> int:
        return self.identity.generation


class IdentityState(msgspec.Struct, frozen=True):
    controller: ControllerSecrets
    """The keys and names that the controller keeps for life."""
    gateway: bytes | None = None
    """The public key of the gateway that granted the login."""
    handshake: DeviceHandshake | None = None
    granted: DeviceLogin | None = None
    """The login of the last handshake, if it was not used yet."""
    login: DeviceLogin | None = None
    """The login that was used last. It works until the granted one is used."""

    @property
    def newest(self) -> DeviceLogin | None:
        return self.granted or self.login


class Keeper:
    """Keeps the state of one device. A change waits for the disk: from asyncio, call it in a thread."""

    def __init__(self, directory: Path, claim: Claim) -> None:
        """Open the file, or begin one with a new identity key. Raises Damaged, OSError."""
        self._lock = threading.Lock()
        self.path = directory / f"{claim.serial}.identity"
        if not self.path.exists():
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            identity = Ed25519PrivateKey.generate().private_bytes_raw()
            self._write(IdentityState(ControllerSecrets(claim.serial, claim.version, claim.key, identity)))
            return
        self.state = _read(self.path)
        controller = self.state.controller
        if controller.serial != claim.serial:
            raise Damaged(f"{self.path} is of {controller.serial}")
        if (controller.claim, controller.psk) != (claim.version, claim.key):  # production gave it another claim
            controller = msgspec.structs.replace(controller, claim=claim.version, psk=claim.key)
            self._change(controller=controller, handshake=None)

    @property
    def serial(self) -> str:
        return self.state.controller.serial

    def go_on(self, handshake: DeviceHandshake) -> None:
        """Store a handshake that has begun, or come as far as the proof, before its request is sent."""
        self._change(handshake=handshake)

    def grant(self, granted: Granted) -> None:
        """Store the granted login. The handshake is kept until the login has been used."""
        assert self.state.handshake
        self._change(granted=DeviceLogin(granted.login, self.state.handshake.key), gateway=granted.gateway)

    def used(self) -> None:
        """Adopt the granted login, because the broker has accepted it, and has a status with its generation."""
        if self.state.granted:
            self._change(login=self.state.granted, granted=None, handshake=None)

    def give_up(self) -> None:
        """Drop the handshake and its login, because it failed, or the login does not work; the login before stays."""
        self._change(granted=None, handshake=None)

    def factory_reset(self) -> None:
        """Forget everything but the claim and the identity key."""
        self._write(IdentityState(self.state.controller))

    def _change(self, **changes: object) -> None:
        with self._lock:
            self._write(msgspec.structs.replace(self.state, **changes))

    def _write(self, state: IdentityState) -> None:
        content = msgspec.json.format(msgspec.json.encode(state), indent=1) + b"\n"
        draft = self.path.with_name(f"{self.path.name}.new")
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content + b"%08x\n" % zlib.crc32(content))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self.path)
        directory = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
        self.state = state


def _read(path: Path) -> IdentityState:
    content, _, checksum = path.read_bytes().removesuffix(b"\n").rpartition(b"\n")
    content += b"\n"
    if checksum != b"%08x" % zlib.crc32(content):
        raise Damaged(f"{path} is damaged: its checksum is wrong")
    try:
        return msgspec.json.decode(content, type=IdentityState)
    except msgspec.DecodeError as error:
        raise Damaged(f"{path} is damaged: {error}") from error
