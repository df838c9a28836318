"""The state machine of a handshake, pure: what is stored, what came, what is known → what to do.

HELLO ─▶ challenged ─ right proof ─▶ provisioning ─ login made ─▶ granted ─ login used ─▶ active
             │             └─ unknown serial, other identity key ─▶ awaiting ─▶ approved ─▶ provisioning
             └─▶ rejected                                              └─▶ rejected                  (any) ─▶ expired
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, TypeAlias

from schema.enrollment import Hello, Refusal


class State(StrEnum):
    """Of a handshake, as in the table `enrollments`."""

    CHALLENGED = "challenged"
    AWAITING = "awaiting"
    APPROVED = "approved"
    PROVISIONING = "provisioning"
    GRANTED = "granted"
    ACTIVE = "active"
    REJECTED = "rejected"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Session:
    """A handshake as it is stored."""

    txn: str
    cell: str
    serial: str
    identity_key: bytes
    claim_version: int
    state: State
    reason: str | None
    hello: bytes
    challenge: bytes
    transcript: bytes
    keys: bytes | None
    proof: bytes | None
    reply: bytes | None
    late: bool
    """Its time is over, whether or not that has been written down."""


@dataclass(frozen=True, slots=True)
class Known:
    """A serial number that was imported, or approved by an operator."""

    device: str
    claim_version: int
    claim_key: bytes | None
    blocked: bool
    identity_key: bytes | None
    enrolled: bool
    """It has its place in the quota of its import already."""
    place: bool
    """There is a place left in that quota."""
    device_state: str | None
    """None: there is no such device yet."""

    @property
    def barred(self) -> bool:
        return self.blocked or self.device_state in BARRED


BARRED = frozenset({"suspended", "revoked", "retired"})
"""States of a device that gets no login."""


class Load(NamedTuple):
    """What is going on: enrollment switched on, handshakes open, of them waiting for an operator, begun for the serial
    within a minute."""

    switched_on: bool
    open: int
    awaiting: int
    tries: int


class Limits(NamedTuple):
    """`sessions` bounds the open and, apart from them, the waiting ones: who waits for people keeps nobody out."""

    sessions: int
    tries: int


# -- what to do


class Ask(NamedTuple):
    """Answer with a challenge, and store it."""


class Check(NamedTuple):
    """It is the first proof: check it, then `judge`."""


class Send(NamedTuple):
    """Send again what was stored."""

    payload: bytes


class Hold(NamedTuple):
    """Tell the device to ask again later."""

    reason: str
    soon: bool = False


class Await(NamedTuple):
    """Store the proof; an operator decides."""

    reason: str


class Provision(NamedTuple):
    """Make a login."""


class Nothing(NamedTuple):
    """Nothing to do."""


class Refuse(NamedTuple):
    """Send a reject; `ends`: and write down that the handshake is over."""

    code: Refusal
    ends: bool = False


Greeting: TypeAlias = Ask | Refuse
Hearing: TypeAlias = Check | Send | Hold | Refuse
Judgement: TypeAlias = Provision | Await | Refuse
Resumption: TypeAlias = Provision | Send | Refuse | Nothing

UNKNOWN_SERIAL, IDENTITY_CHANGED = "unknown-serial", "identity-changed"
"""Why an operator has to decide."""


def greet(
    hello: Hello, identity: bytes, known: Known | None, *, masters: Collection[int], load: Load, limits: Limits
) -> Greeting:
    """On a HELLO with a new transaction number; `masters`: versions of claim keys we can derive."""
    if not load.switched_on:
        return Refuse(Refusal.CLOSED)
    if known is not None and known.barred:
        return Refuse(Refusal.BLOCKED)
    if not has_claim(hello.claim, known, masters):
        return Refuse(Refusal.UNKNOWN_CLAIM)
    if known is not None and known.identity_key in {None, identity} and not (known.enrolled or known.place):
        return Refuse(Refusal.QUOTA)
    if load.open >= limits.sessions or load.tries >= limits.tries:
        return Refuse(Refusal.BUSY)
    return Ask()


def greet_again(cell: str, session: Session, payload: bytes) -> Send | Refuse:
    """On a HELLO whose transaction number is there already."""
    if session.cell != cell or session.hello != payload:
        return Refuse(Refusal.CONFLICT)
    return ended(session) or Send(session.challenge)


def hear(cell: str, session: Session | None, payload: bytes) -> Hearing:  # noqa: PLR0911 - a table of decisions
    """On a PROOF."""
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
    if session.state in {State.GRANTED, State.ACTIVE} and session.reply is not None:
        return Send(session.reply)
    if session.state is State.AWAITING:
        return Hold("approval")
    return Hold("provisioning", soon=True)


def judge(  # noqa: PLR0911 - a table of decisions
    session: Session, known: Known | None, load: Load, limits: Limits, *, right: bool, certificate_usable: bool
) -> Judgement:
    """On the first proof, checked. `certificate_usable`: none is asked for, or it can be issued."""
    if not right:
        return Refuse(Refusal.REFUSED, ends=True)
    if not load.switched_on:
        return Refuse(Refusal.CLOSED, ends=True)
    if known is not None and known.barred:
        return Refuse(Refusal.BLOCKED, ends=True)
    if known is not None and known.claim_version != session.claim_version:  # imported since
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


def resume(session: Session | None, known: Known | None, cell: str) -> Resumption:  # noqa: PLR0911 - a table of decisions
    """When an operator has decided, or the login has been made. An approval goes above a quota."""
    if session is None or session.cell != cell or session.late:
        return Nothing()
    if session.state is State.REJECTED:
        return ended(session) or Nothing()
    if session.state is State.GRANTED and session.reply is not None:
        return Send(session.reply)
    if session.state is not State.APPROVED:
        return Nothing()
    if known is None or known.identity_key != session.identity_key:  # another one was approved after it
        return Refuse(Refusal.DENIED, ends=True)
    if known.barred:
        return Refuse(Refusal.BLOCKED, ends=True)
    return Provision()


def ended(session: Session) -> Refuse | None:
    """The refusal with which a handshake is over; None: it is not."""
    if session.state is State.REJECTED:
        return Refuse(Refusal(session.reason) if session.reason in CODES else Refusal.DENIED)
    if session.state is State.EXPIRED or session.late:
        return Refuse(Refusal.EXPIRED)
    return None


CODES = frozenset(code.value for code in Refusal)


def has_claim(version: int, known: Known | None, masters: Collection[int]) -> bool:
    """Whether we have a claim key of that version for the serial."""
    if known is None:
        return version in masters
    return known.claim_version == version and (version in masters or known.claim_key is not None)


def retry_after_s(code: Refusal, txn: str) -> int | None:
    """When a device may begin anew; None: when an operator has done something. Spread by the transaction number, so
    that many do not come back at once, and the same request gets the same reply."""
    if code in {Refusal.BUSY, Refusal.EXPIRED, Refusal.CONFLICT}:
        return 5 + int(txn[:8], 16) % 31
    return None
