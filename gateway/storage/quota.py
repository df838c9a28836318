"""Stores rejects in quarantine within bounds for each device and for all; beyond them it keeps count, hash and reason.

The usage is read before the insert, without a lock, so each of two gateways can exceed the bounds by one batch.
Triggers of migration 0004 count it. A message whose bytes are kept already is a duplicate, quota or not.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from gateway.intake.accounting import ItemCounts
from gateway.items import ItemKind, Reject, moment
from gateway.runtime.database import PoolConnection
from schema.reasons import Reason

OVERHEAD = 512
"""Bytes of a row beside its payload and texts, with its share of the indexes: as in `quarantine.weight`."""

STRANGERS = frozenset({Reason.UNKNOWN_DEVICE, Reason.UNKNOWN_TOPIC, Reason.MALFORMED_PACKET})
"""Reasons that need no registered device. Names can be invented without end, so these rejects are stored only
while the whole quarantine is below half of its bound. The other half is kept for registered devices, with a share for
each organization that has devices, so that none takes the places of another one."""

SHARES = """
with own as (select name, organization_id from devices where name = any ($1)),
used as (select d.organization_id, sum(u.bytes)::bigint as bytes
           from quarantine_usage u join devices d on d.name = u.device group by d.organization_id)
select own.name, own.organization_id, coalesce(used.bytes, 0) as bytes,
       (select count(distinct organization_id) from devices) as organizations
  from own left join used using (organization_id)"""


class Keep(Protocol):
    """Stores the rejects of a batch, or some of them, in its transaction, and counts them in `outcome`."""

    async def __call__(
        self, connection: PoolConnection, cell: str, rejects: Sequence[Reject], outcome: ItemCounts
    ) -> None: ...


class QuarantineRow(NamedTuple):
    """A reject with its texts as PostgreSQL can store them."""

    reject: Reject
    sha256: bytes
    device: str | None
    topic: str
    detail: str
    content_type: str | None

    @property
    def weight(self) -> int:
        texts = (self.topic, self.detail, self.content_type or "")
        return OVERHEAD + len(self.reject.payload) + sum(len(text.encode()) for text in texts)


class Quota(NamedTuple):
    """Bounds of the messages open in quarantine, in bytes (with OVERHEAD) and rows."""

    device_bytes: int = 16 * 2**20
    device_rows: int = 10_000
    total_bytes: int = 2**30

    async def keep(self, connection: PoolConnection, cell: str, rejects: Sequence[Reject], outcome: ItemCounts) -> None:
        """Store the rejects that fit, and count the others."""
        rows = [_row(reject) for reject in rejects]
        known = await _known(connection, rows)
        usage = await _usage(connection, rows)
        shares = await self._shares(connection, rows, usage)
        kept, refused = self._divide(rows, known, usage, shares, outcome)
        for row in kept.values():
            outcome.quarantined[row.reject.kind] += 1
            outcome.reasons[row.reject.reason] += 1
        stored = await _insert(connection, cell, list(kept.values()))
        for sha256 in kept.keys() - stored:  # another gateway has stored the same message meanwhile
            reject = kept[sha256].reject
            outcome.quarantined[reject.kind] -= 1
            outcome.reasons[reject.reason] -= 1
            outcome.duplicate[reject.kind] += 1
        if refused:
            await _overflow(connection, cell, refused)

    async def _shares(
        self, connection: PoolConnection, rows: list[QuarantineRow], usage: dict[str | None, tuple[int, int]]
    ) -> Shares:
        """The shares of the organizations of these rows; they are looked up when the first half is nearly full."""
        _, total = usage.get(None, (0, 0))
        if total + sum(row.weight for row in rows) <= self.total_bytes // 2:
            return Shares(self.total_bytes, {}, {})
        found = await connection.fetch(SHARES, list({row.device or "" for row in rows}))
        organizations = max((row["organizations"] for row in found), default=1)
        share = self.total_bytes if organizations == 1 else self.total_bytes // 2 // organizations
        owners = {row["name"]: row["organization_id"] for row in found}
        return Shares(share, owners, {row["organization_id"]: row["bytes"] for row in found})

    def _divide(
        self,
        rows: list[QuarantineRow],
        known: set[bytes],
        usage: dict[str | None, tuple[int, int]],
        shares: Shares,
        outcome: ItemCounts,
    ) -> tuple[dict[bytes, QuarantineRow], list[QuarantineRow]]:
        """Return the rows to store, by hash, and the rows over a bound. Count the duplicates."""
        kept: dict[bytes, QuarantineRow] = {}
        refused: list[QuarantineRow] = []
        _, total = usage.get(None, (0, 0))
        for row in rows:
            reject = row.reject
            if row.sha256 in known or row.sha256 in kept:
                outcome.duplicate[reject.kind] += 1
                continue
            name, weight = row.device or "", row.weight
            count, size = usage.get(name, (0, 0))
            whole = self.total_bytes // 2 if reject.reason in STRANGERS else self.total_bytes
            fits = count < self.device_rows and size + weight <= self.device_bytes and total + weight <= whole
            if fits and (total + weight <= self.total_bytes // 2 or shares.has_room(name, weight)):
                kept[row.sha256] = row
                shares.take(name, weight)
                usage[name] = count + 1, size + weight
                total += weight
            else:
                refused.append(row)
                outcome.discarded[reject.kind] += 1
                outcome.refused[reject.reason] += 1
                if reject.numbers is not None:
                    outcome.unkept.append(reject.numbers)
        return kept, refused


class Shares:
    """The shares of organizations in the second half of the quarantine."""

    def __init__(self, share: int, owners: dict[str, int], used: dict[int, int]) -> None:
        """`owners`: registered device → its organization. `used`: bytes of each organization."""
        self._share, self._owners, self._used = share, owners, used

    def has_room(self, device: str, weight: int) -> bool:
        """Whether so many more bytes of the device are within the share of its organization."""
        owner = self._owners.get(device)
        return owner is None or self._used[owner] + weight <= self._share

    def take(self, device: str, weight: int) -> None:
        if (owner := self._owners.get(device)) is not None:
            self._used[owner] += weight


def chain(hash_: bytes, digests: Sequence[bytes]) -> bytes:
    """Continue the hash over all refused messages by these digests."""
    for digest in digests:
        hash_ = hashlib.sha256(hash_ + digest).digest()
    return hash_


def _row(reject: Reject) -> QuarantineRow:
    return QuarantineRow(
        reject,
        reject.sha256,
        None if reject.device is None else _clean(reject.device),
        _clean(reject.topic),
        _clean(reject.detail),
        None if reject.content_type is None else _clean(reject.content_type),
    )


def _clean(text: str) -> str:
    """Replace what PostgreSQL cannot store: NUL and lone surrogates."""
    if text.isascii() and "\0" not in text:
        return text
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()


async def _known(connection: PoolConnection, rows: list[QuarantineRow]) -> set[bytes]:
    found = await connection.fetch(
        "select sha256 from quarantine where sha256 = any($1) and state <> 'discarded'", [row.sha256 for row in rows]
    )
    return {row["sha256"] for row in found}


async def _usage(connection: PoolConnection, rows: list[QuarantineRow]) -> dict[str | None, tuple[int, int]]:
    """Open rows and bytes by device ("" for none); None stands for all devices."""
    found = await connection.fetch(
        """select device, sum(rows)::bigint as rows, sum(bytes)::bigint as bytes from quarantine_usage
            where device = any($1) or device is null group by device""",
        list({row.device or "" for row in rows}),
    )
    return {row["device"]: (row["rows"], row["bytes"]) for row in found}


async def _insert(connection: PoolConnection, cell: str, rows: list[QuarantineRow]) -> set[bytes]:
    """Insert rows; return the hashes of those that were new."""
    stored = await connection.fetch(
        """insert into quarantine (cell, received_at, device, topic, reason, detail, content_type, payload, sha256)
           select $1, * from unnest($2::timestamptz[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
                                    $8::bytea[], $9::bytea[])
           on conflict (sha256) where state <> 'discarded' do nothing returning sha256""",
        cell,
        [moment(row.reject.received_ms) for row in rows],
        [row.device for row in rows],
        [row.topic for row in rows],
        [row.reject.reason.value for row in rows],
        [row.detail for row in rows],
        [row.content_type for row in rows],
        [row.reject.payload for row in rows],
        [row.sha256 for row in rows],
    )
    return {row["sha256"] for row in stored}


async def _overflow(connection: PoolConnection, cell: str, refused: list[QuarantineRow]) -> None:
    """Count rows that are not kept. Unknown names share a row of the table, or inventing names could fill the disk."""
    named = await connection.fetch(
        """select name from devices where name = any($1)
           union select device from quarantine_usage where device = any($1)""",
        list({row.device or "" for row in refused}),
    )
    names = {row["name"] for row in named}
    groups: defaultdict[tuple[str, ItemKind, str], list[QuarantineRow]] = defaultdict(list)
    for row in refused:
        name = row.device if row.device is not None and row.device in names else ""
        groups[name, row.reject.kind, row.reject.reason.value].append(row)
    before = {
        (row["device"], row["kind"], row["reason"]): row["hash"]
        for row in await connection.fetch(
            """select device, kind, reason, hash from quarantine_overflow
                where cell = $1 and device = any($2) order by device, kind, reason for update""",
            cell,
            [name for name, _, _ in groups],
        )
    }
    times = [[row.reject.received_ms for row in rows] for rows in groups.values()]
    await connection.execute(
        """insert into quarantine_overflow as o (cell, device, kind, reason, count, bytes, hash, first_at, last_at)
           select $1, * from unnest($2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::bytea[],
                                    $8::timestamptz[], $9::timestamptz[])
           on conflict (cell, device, kind, reason) do update
              set count = o.count + excluded.count, bytes = o.bytes + excluded.bytes, hash = excluded.hash,
                  first_at = least(o.first_at, excluded.first_at), last_at = greatest(o.last_at, excluded.last_at)""",
        cell,
        *(list(column) for column in zip(*groups, strict=True)),
        [len(rows) for rows in groups.values()],
        [sum(len(row.reject.payload) for row in rows) for rows in groups.values()],
        [chain(before.get(key, bytes(32)), [row.sha256 for row in rows]) for key, rows in groups.items()],
        [moment(min(received)) for received in times],
        [moment(max(received)) for received in times],
    )
