"""The state machine of a handshake: every combination of facts."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from gateway.enrollment.decisions import (
    BARRED,
    CODES,
    IDENTITY_CHANGED,
    UNKNOWN_SERIAL,
    Ask,
    Await,
    CellLoad,
    Check,
    EnrollmentSession,
    HandshakeState,
    KnownSerial,
    Limits,
    Nothing,
    Provision,
    Refuse,
    SendAgain,
    SendPending,
    greet,
    greet_again,
    has_place,
    hear,
    judge,
    resume,
    retry_after_s,
)
from schema.enrollment import Hello, Refusal, b64

TXN = "0123456789abcdef" * 2
IDENTITY, OTHER = b"i" * 32, b"o" * 32
LIMITS = Limits(sessions=200, tries=5)
QUIET = CellLoad(switched_on=True, open=0, awaiting=0, tries=0)
KNOWN = KnownSerial(
    device="br-1",
    claim_version=1,
    claim_key=None,
    blocked=False,
    identity_key=None,
    enrolled=False,
    place=True,
    device_state=None,
)
DEVICE_STATES = (None, "pending", "active", *sorted(BARRED))
PROVED = {
    HandshakeState.AWAITING,
    HandshakeState.APPROVED,
    HandshakeState.PROVISIONING,
    HandshakeState.GRANTED,
    HandshakeState.ACTIVE,
}


def session(state: HandshakeState = HandshakeState.CHALLENGED, **changes: object) -> EnrollmentSession:
    whole = EnrollmentSession(
        txn=TXN,
        cell="main",
        serial="S-1",
        identity_key=IDENTITY,
        claim_version=1,
        state=state,
        reason=None,
        hello=b"hello",
        challenge=b"challenge",
        transcript=bytes(32),
        keys=b"keys",
        proof=b"proof" if state in PROVED else None,
        reply=b"grant"
        if state in {HandshakeState.PROVISIONING, HandshakeState.GRANTED, HandshakeState.ACTIVE}
        else None,
        late=False,
    )
    return replace(whole, **changes)  # type: ignore[arg-type]


def hello(claim: int = 1) -> Hello:
    key = b64(IDENTITY)
    return Hello(v=1, txn=TXN, t=0, serial="S-1", identity=key, ephemeral=key, claim=claim)


# -- HELLO


def test_a_hello_is_answered_by_a_challenge_only_if_nothing_speaks_against_it() -> None:
    seen = set()
    for switched_on, state, blocked, claim, key, enrolled, place in product(
        (True, False),
        DEVICE_STATES,
        (True, False),
        (0, 1, 2, 3),
        (None, IDENTITY, OTHER),
        (True, False),
        (True, False),
    ):
        known = replace(KNOWN, device_state=state, blocked=blocked, identity_key=key, enrolled=enrolled, place=place)
        decision = greet(hello(claim), IDENTITY, known, masters={1, 2}, switched_on=switched_on)
        if not switched_on:
            expected: Ask | Refuse = Refuse(Refusal.CLOSED)
        elif blocked or state in BARRED:
            expected = Refuse(Refusal.BLOCKED)
        elif claim != 1:
            expected = Refuse(Refusal.UNKNOWN_CLAIM)
        elif not enrolled and not place and key != OTHER:
            expected = Refuse(Refusal.QUOTA)
        else:
            expected = Ask()
        assert decision == expected
        seen.add(type(decision))
    assert seen == {Ask, Refuse}


@pytest.mark.parametrize(
    ("claim", "known", "asked"),
    [
        (1, None, True),
        (2, None, True),
        (3, None, False),
        (0, None, False),
        (0, replace(KNOWN, claim_version=0, claim_key=b"sealed"), True),
        (1, replace(KNOWN, claim_version=0, claim_key=b"sealed"), False),
        (1, replace(KNOWN, claim_version=2), False),
        (2, replace(KNOWN, claim_version=2), True),
        (3, replace(KNOWN, claim_version=3), False),
    ],
)
def test_there_must_be_a_claim_key_of_that_version(claim: int, known: KnownSerial | None, asked: bool) -> None:
    decision = greet(hello(claim), IDENTITY, known, masters={1, 2}, switched_on=True)
    assert decision == (Ask() if asked else Refuse(Refusal.UNKNOWN_CLAIM))


@pytest.mark.parametrize("open_", [0, 199, 200])
@pytest.mark.parametrize("awaiting", [0, 199, 200])
@pytest.mark.parametrize("tries", [0, 4, 5])
def test_known_and_unknown_serials_have_places_of_their_own(open_: int, awaiting: int, tries: int) -> None:
    load = CellLoad(True, open_, awaiting, tries)
    assert has_place(load, LIMITS, known=True) == (open_ < 200 and tries < 5)
    assert has_place(load, LIMITS, known=False) == (awaiting < 200 and tries < 5)


@pytest.mark.parametrize("state", HandshakeState)
def test_the_same_hello_gets_the_same_challenge_and_another_one_is_a_conflict(state: HandshakeState) -> None:
    there = session(state)
    decision = greet_again("main", there, b"hello")
    if state is HandshakeState.EXPIRED:
        assert decision == Refuse(Refusal.EXPIRED)
    elif state is HandshakeState.REJECTED:
        assert isinstance(decision, Refuse)
    else:
        assert decision == SendAgain(b"challenge")
    assert greet_again("main", there, b"hello ") == Refuse(Refusal.CONFLICT)
    assert greet_again("other", there, b"hello") == Refuse(Refusal.CONFLICT)
    if state is not HandshakeState.REJECTED:
        assert greet_again("main", replace(there, late=True), b"hello") == Refuse(Refusal.EXPIRED)


# -- PROOF

HEARD = {
    HandshakeState.CHALLENGED: Check(),
    HandshakeState.AWAITING: SendPending("approval"),
    HandshakeState.APPROVED: SendPending("provisioning", soon=True),
    HandshakeState.PROVISIONING: SendPending("provisioning", soon=True),
    HandshakeState.GRANTED: SendAgain(b"grant"),
    HandshakeState.ACTIVE: SendAgain(b"grant"),
    HandshakeState.REJECTED: Refuse(Refusal.DENIED),
    HandshakeState.EXPIRED: Refuse(Refusal.EXPIRED),
}


@pytest.mark.parametrize("state", HandshakeState)
def test_a_proof_is_checked_once_and_then_answered_from_what_is_stored(state: HandshakeState) -> None:
    there = session(state)
    assert hear("main", there, b"proof") == HEARD[state]
    if state in PROVED:
        assert hear("main", there, b"other") == Refuse(Refusal.CONFLICT)
    assert hear("elsewhere", there, b"proof") == Refuse(Refusal.CONFLICT)
    if state is not HandshakeState.REJECTED:
        assert hear("main", replace(there, late=True), b"proof") == Refuse(Refusal.EXPIRED)


def test_a_proof_without_a_hello_is_told_to_begin_anew() -> None:
    assert hear("main", None, b"proof") == Refuse(Refusal.EXPIRED)


@pytest.mark.parametrize("code", sorted(CODES))
def test_a_handshake_that_was_refused_says_why_again(code: str) -> None:
    there = session(HandshakeState.REJECTED, reason=code)
    for decision in (hear("main", there, b"proof"), hear("main", there, b"x"), greet_again("main", there, b"hello")):
        assert decision == Refuse(Refusal(code))


def test_nothing_but_a_right_proof_of_a_known_controller_makes_a_login() -> None:
    made = 0
    for right, on, state, blocked, version, key, enrolled, place, awaiting, usable in product(
        (True, False),
        (True, False),
        DEVICE_STATES,
        (True, False),
        (0, 1),
        (None, IDENTITY, OTHER),
        (True, False),
        (True, False),
        (199, 200),
        (True, False),
    ):
        known = replace(
            KNOWN,
            device_state=state,
            blocked=blocked,
            claim_version=version,
            identity_key=key,
            enrolled=enrolled,
            place=place,
        )
        load = CellLoad(on, 200, awaiting, 5)  # those two were looked at before
        decision = judge(session(), known, load, LIMITS, right=right, certificate_usable=usable)
        if not right:
            code: Refusal | None = Refusal.REFUSED
        elif not on:
            code = Refusal.CLOSED
        elif blocked or state in BARRED:
            code = Refusal.BLOCKED
        elif version != 1:
            code = Refusal.UNKNOWN_CLAIM
        elif not usable:
            code = Refusal.CERTIFICATE
        elif key == OTHER:
            code = Refusal.BUSY if awaiting == 200 else None
        elif not enrolled and not place:
            code = Refusal.QUOTA
        else:
            code = None
        if code is not None:
            assert decision == Refuse(code, ends=True)
        elif key == OTHER:
            assert decision == Await(IDENTITY_CHANGED)
        else:
            assert decision == Provision()
            made += 1
    assert made


@pytest.mark.parametrize("right", [True, False])
@pytest.mark.parametrize("usable", [True, False])
@pytest.mark.parametrize("awaiting", [0, 200])
def test_an_unknown_serial_never_gets_a_login_by_itself(right: bool, usable: bool, awaiting: int) -> None:
    load = QUIET._replace(awaiting=awaiting)
    decision = judge(session(), None, load, LIMITS, right=right, certificate_usable=usable)
    if right and usable and awaiting == 0:
        assert decision == Await(UNKNOWN_SERIAL)
    else:
        assert isinstance(decision, Refuse)
        assert decision.ends


# -- approved, granted


@pytest.mark.parametrize("state", HandshakeState)
@pytest.mark.parametrize("late", [True, False])
@pytest.mark.parametrize("cell", ["main", "other"])
def test_it_goes_on_when_it_was_approved_or_its_login_was_made(state: HandshakeState, late: bool, cell: str) -> None:
    known = replace(KNOWN, identity_key=IDENTITY, place=False)  # an approval goes above the quota
    decision = resume(session(state, late=late), known, cell)
    if (
        late
        or cell != "main"
        or state not in {HandshakeState.APPROVED, HandshakeState.GRANTED, HandshakeState.REJECTED}
    ):
        assert decision == Nothing()
    elif state is HandshakeState.REJECTED:  # an operator has said no while the device waited: it hears of it
        assert decision == Refuse(Refusal.DENIED)
    else:
        assert decision == (Provision() if state is HandshakeState.APPROVED else SendAgain(b"grant"))
    assert resume(None, known, cell) == Nothing()


def test_an_approval_that_was_overtaken_makes_no_login() -> None:
    approved = session(HandshakeState.APPROVED)
    assert resume(approved, None, "main") == Refuse(Refusal.DENIED, ends=True)
    assert resume(approved, replace(KNOWN, identity_key=OTHER), "main") == Refuse(Refusal.DENIED, ends=True)
    for state in BARRED:
        barred = replace(KNOWN, identity_key=IDENTITY, device_state=state)
        assert resume(approved, barred, "main") == Refuse(Refusal.BLOCKED, ends=True)


# -- when to come back


@pytest.mark.parametrize("code", Refusal)
def test_who_may_come_back_by_itself_does_so_spread_over_half_a_minute(code: Refusal) -> None:
    waits = {retry_after_s(code, f"{number:08x}{'0' * 24}") for number in range(100)}
    if code in {Refusal.BUSY, Refusal.EXPIRED, Refusal.CONFLICT}:
        assert waits == set(range(5, 36))
    else:
        assert waits == {None}
    assert retry_after_s(code, TXN) == retry_after_s(code, TXN)
