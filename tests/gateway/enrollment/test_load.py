"""Which handshakes take a place: those of the cell that are on their way, and not over."""

from __future__ import annotations

import secrets

import pytest

from gateway.enrollment import store
from gateway.enrollment.decisions import CellLoad
from tests.gateway.enrollment.bench import Bench

PINNED, OTHER = b"p" * 32, b"o" * 32
HANDSHAKE = """
insert into enrollments (txn, cell, serial, identity_key, claim_version, state, hello, challenge, transcript,
                         expires_at, created_at)
values ($1, $2, $3, $4, 1, $5, '', '', '', now() + $6 * interval '1 s', now() - $7 * interval '1 s')"""


async def proved(
    bench: Bench,
    state: str,
    *,
    cell: str = "main",
    serial: str = "S-9",
    identity: bytes = OTHER,
    ends_s: float | None = 60,
    age_s: float = 3600,
) -> None:
    await bench.pool.execute(HANDSHAKE, secrets.token_hex(16), cell, serial, identity, state, ends_s, age_s)


@pytest.fixture
async def pinned(bench: Bench) -> Bench:
    """A serial that is bound to an identity key, and a second cell, where enrollment is off."""
    await bench.controller("S-1")
    await bench.pool.execute("update serials set identity_key = $1", PINNED)
    await bench.pool.execute("insert into cells (cell, client_id, enrollment_open) values ('other', 'o', false)")
    return bench


async def load(bench: Bench, cell: str = "main", identity: bytes = PINNED) -> CellLoad:
    async with bench.pool.acquire() as connection:
        return await store.load(connection, cell, "S-1", identity)


@pytest.mark.parametrize(
    ("state", "ends_s", "expected"),
    [
        ("challenged", 60, (0, 0)),
        ("awaiting", 60, (0, 1)),
        ("awaiting", -1, (0, 0)),
        ("approved", 60, (1, 0)),
        ("approved", -1, (0, 0)),
        ("provisioning", None, (1, 0)),
        ("granted", 60, (0, 0)),
        ("active", None, (0, 0)),
        ("rejected", 60, (0, 0)),
        ("expired", 60, (0, 0)),
    ],
)
async def test_a_handshake_takes_a_place_of_its_cell_until_it_is_over(
    pinned: Bench, state: str, ends_s: float | None, expected: tuple[int, int]
) -> None:
    await proved(pinned, state, ends_s=ends_s)
    assert await load(pinned) == CellLoad(True, *expected, tries=0)
    assert await load(pinned, "other") == CellLoad(False, open=0, awaiting=0, tries=0)


async def test_tries_of_a_minute_are_counted_for_the_pinned_key_and_apart_for_all_others(pinned: Bench) -> None:
    for identity, serial, age_s in ((PINNED, "S-1", 59), (OTHER, "S-1", 59), (bytes(32), "S-1", 1), (OTHER, "S-2", 1)):
        await proved(pinned, "rejected", identity=identity, serial=serial, age_s=age_s)
    await proved(pinned, "rejected", identity=PINNED, serial="S-1", age_s=61)
    assert (await load(pinned)).tries == 1
    assert (await load(pinned, identity=OTHER)).tries == 2
