"""The state machine of a handshake, pure: it decides what to do from the stored handshake, the request and the serial.

HELLO ─▶ challenged ─ right proof ─▶ provisioning ─ login made ─▶ granted ─ login used ─▶ active
             │             └─ unknown serial, other identity key ─▶ awaiting ─▶ approved ─▶ provisioning
             └─▶ rejected                                              └─▶ rejected                  (any) ─▶ expired
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, TypeAlias

from schema.enrollment import Hello, Refusal


class HandshakeState(StrEnum):
    """The state of a handshake, as in the table `enrollments`."""

    CHALLENGED = "challenged"
    AWAITING = "awaiting"
    APPROVED = "approved"
    PROVISIONING = "provisioning"
    GRANTED = "granted"
    ACTIVE = "active"
    REJECTED = "rejected"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class EnrollmentSession:
    """A handshake as the table `enrollments` has it."""

    txn: str
    cell: str
    serial: str
    identity_key: bytes
    claim_version: int
    state: HandshakeState
    reason: str | None
    hello: bytes
    challenge: bytes
    transcript: bytes
    keys: bytes | None
    proof: bytes | None
    reply: bytes | None
    late: bool
    """Its time is over, even if its state does not say so yet."""


@dataclass(frozen=True, slots=True)
class KnownSerial:
    """A serial number that was imported or that an operator approved, with its device."""

    device: str
    claim_version: int
    claim_key: bytes | None
    blocked: bool
    identity_key: bytes | None
    enrolled: bool
    """Whether the serial has its place in the quota of its import already."""
    place: bool
    """Whether that quota has a place left."""
    device_state: str | None
    """State of the device; None if it does not exist yet."""

    @property
    def barred(self) -> bool:
        """Whether serial or device may get no login."""
        return self.blocked or self.device_state in BARRED


BARRED = frozenset({"suspended", "revoked", "retired"})
"""States of a device that gets no login."""


class CellLoad(NamedTuple):
    """Whether enrollment is switched on, how many proved handshakes of the cell are on their way to a login, how many
    wait for an operator, and how many were proved for the serial within a minute."""

    switched_on: bool
    open: int
    awaiting: int
    tries: int


class Limits(NamedTuple):
    """Bounds: `sessions` of the handshakes that are on their way to a login, and apart from them of those that wait for
    an operator; `tries` of those proved for a serial within a minute."""

    sessions: int
    tries: int


# -- decisions


class Ask(NamedTuple):
    """Send a challenge; nothing is stored."""


class Check(NamedTuple):
    """Check the first proof of a handshake, then `judge`."""


class SendAgain(NamedTuple):
    """Send a stored reply again."""

    payload: bytes


class SendPending(NamedTuple):
    """Tell the device to send its proof again later."""

    reason: str
    soon: bool = False


class Await(NamedTuple):
    """Store the proof, and let an operator decide."""

    reason: str


class Provision(NamedTuple):
    """Make a login for the device."""


class Nothing(NamedTuple):
    """Do nothing."""


class Refuse(NamedTuple):
    """Send a reject. `ends`: store that the handshake is over, too."""

    code: Refusal
    ends: bool = False


Greeting: TypeAlias = Ask | Refuse
Hearing: TypeAlias = Check | SendAgain | SendPending | Refuse
Judgement: TypeAlias = Provision | Await | Refuse
Resumption: TypeAlias = Provision | SendAgain | Refuse | Nothing

UNKNOWN_SERIAL, IDENTITY_CHANGED = "unknown-serial", "identity-changed"
"""Reasons for which an operator has to decide."""


def greet(
    hello: Hello, identity: bytes, known: KnownSerial | None, *, masters: Container[int], switched_on: bool
) -> Greeting:
    """Decide on a HELLO with a new transaction number. `identity` is the device's identity key; `masters` are the
    versions of claim keys that this gateway can derive."""
    if not switched_on:
        return Refuse(Refusal.CLOSED)
    if known is not None and known.barred:
        return Refuse(Refusal.BLOCKED)
    if not has_claim(hello.claim, known, masters):
        return Refuse(Refusal.UNKNOWN_CLAIM)
    if known is not None and known.identity_key in {None, identity} and not (known.enrolled or known.place):
        return Refuse(Refusal.QUOTA)
    return Ask()


def has_place(load: CellLoad, limits: Limits, *, known: bool) -> bool:
    """Whether a handshake may be kept whose proof is right. Known serials do not share the places of unknown ones."""
    return load.tries < limits.tries and (load.open if known else load.awaiting) < limits.sessions


def greet_again(cell: str, session: EnrollmentSession, payload: bytes) -> SendAgain | Refuse:
    """Decide on a HELLO, which came as `payload`, whose transaction number is stored already."""
    if session.cell != cell or session.hello != payload:
        return Refuse(Refusal.CONFLICT)
    return ended(session) or SendAgain(session.challenge)


def hear(cell: str, session: EnrollmentSession | None, payload: bytes) -> Hearing:  # noqa: PLR0911 - a table of decisions
    """Decide on a PROOF, which came as `payload`; `session` is None if its transaction number is unknown."""
    if session is None:
        return Refuse(Refusal.EXPIRED)
    if session.cell != cell:
        return Refuse(Refusal.CONFLICT)
    over = ended(session)
    if over is not None:
        return over
    if session.proof is None:
        return Check()
    if session.proof != payload:
        return Refuse(Refusal.CONFLICT)
    if session.state in {HandshakeState.GRANTED, HandshakeState.ACTIVE} and session.reply is not None:
        return SendAgain(session.reply)
    if session.state is HandshakeState.AWAITING:
        return SendPending("approval")
    return SendPending("provisioning", soon=True)


def judge(  # noqa: PLR0911 - a table of decisions
    session: EnrollmentSession,
    known: KnownSerial | None,
    load: CellLoad,
    limits: Limits,
    *,
    right: bool,
    certificate_usable: bool,
) -> Judgement:
    """Decide on the first proof, which is `right` if it was made with the right keys. `certificate_usable`: the device
    asks for no certificate, or it can be issued."""
    if not right:
        return Refuse(Refusal.REFUSED, ends=True)
    if not load.switched_on:
        return Refuse(Refusal.CLOSED, ends=True)
    if known is not None and known.barred:
        return Refuse(Refusal.BLOCKED, ends=True)
    if known is not None and known.claim_version != session.claim_version:  # the serial was imported since
        return Refuse(Refusal.UNKNOWN_CLAIM, ends=True)
    if not certificate_usable:
        return Refuse(Refusal.CERTIFICATE, ends=True)
    changed = known is not None and known.identity_key not in {None, session.identity_key}
    if known is None or changed:
        if load.awaiting >= limits.sessions:
            return Refuse(Refusal.BUSY, ends=True)
        return Await(IDENTITY_CHANGED if changed else UNKNOWN_SERIAL)
    if not (known.enrolled or known.place):
        return Refuse(Refusal.QUOTA, ends=True)
    return Provision()


def resume(session: EnrollmentSession | None, known: KnownSerial | None, cell: str) -> Resumption:  # noqa: PLR0911 - a table of decisions
    """Decide how to go on after an operator has decided or the login was made. An approval overrides the quota."""
    if session is None or session.cell != cell or session.late:
        return Nothing()
    if session.state is HandshakeState.REJECTED:
        return ended(session) or Nothing()
    if session.state is HandshakeState.GRANTED and session.reply is not None:
        return SendAgain(session.reply)
    if session.state is not HandshakeState.APPROVED:
        return Nothing()
    if known is None or known.identity_key != session.identity_key:  # another key was approved since
        return Refuse(Refusal.DENIED, ends=True)
    if known.barred:
        return Refuse(Refusal.BLOCKED, ends=True)
    return Provision()


def ended(session: EnrollmentSession) -> Refuse | None:
    """The refusal with which a handshake has ended; None if it has not."""
    if session.state is HandshakeState.REJECTED:
        return Refuse(Refusal(session.reason) if session.reason in CODES else Refusal.DENIED)
    if session.state is HandshakeState.EXPIRED or session.late:
        return Refuse(Refusal.EXPIRED)
    return None


CODES = frozenset(code.value for code in Refusal)


def has_claim(version: int, known: KnownSerial | None, masters: Container[int]) -> bool:
    """Whether this gateway has a claim key of this version for the serial."""
    if known is None:
        return version in masters
    return known.claim_version == version and (version in masters or known.claim_key is not None)


def retry_after_s(code: Refusal, txn: str) -> int | None:
    """Seconds after which a refused device may begin anew, spread by `txn`; None if an operator has to act first."""
    if code in {Refusal.BUSY, Refusal.EXPIRED, Refusal.CONFLICT}:
        return 5 + int(txn[:8], 16) % 31
    return None
