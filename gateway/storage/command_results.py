"""Sets the states of commands to what devices report, in the transaction of the batch.

States move forward only. A repeated result is a duplicate; a result that contradicts an earlier one, or is of a command
that this device was not given, goes to quarantine. A command that had expired, or was cancelled when it was under way
already, still gets the result that its device reports.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from enum import Enum, auto
from uuid import UUID

import msgspec

from gateway.intake.accounting import ItemCounts
from gateway.intake.rejects import reject_item
from gateway.items import DeviceCommandResult, Reject, moment
from gateway.runtime.database import PoolConnection
from schema.reasons import Reason

ENDS = frozenset({"done", "refused", "failed"})
UNDER_WAY = frozenset({"waiting", "sent", "cancelled"})

KNOWN = """
select g.n, c.state, c.accepted_at is not null as accepted,
       (c.state, c.detail, c.result) is not distinct from (g.status, g.detail, g.data) as same
  from unnest($1::uuid[], $2::int[], $3::text[], $4::text[], $5::jsonb[]) with ordinality
       as g (command_id, device_id, status, detail, data, n)
  join commands c using (command_id, device_id)
 order by c.command_id, g.n
   for update of c"""
# Times are the device's, where the gateway's clock allows them.
CHANGE = """
update commands c
   set state = g.now, detail = case when g.says then g.said else c.detail end,
       result = case when g.says then g.data else c.result end,
       sent_at = coalesce(c.sent_at, greatest(coalesce(g.accepted, g.ended), c.requested_at)),
       accepted_at = coalesce(c.accepted_at, case when g.accepted is not null
                                                  then greatest(g.accepted, c.requested_at, c.sent_at) end),
       ended_at = case when g.now = 'accepted' then null
                       when g.ended is null then c.ended_at
                       else greatest(g.ended, c.requested_at, c.sent_at, c.accepted_at) end
  from unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::timestamptz[], $5::bool[], $6::text[], $7::jsonb[])
       as g (command_id, now, accepted, ended, says, said, data)
 where c.command_id = g.command_id"""


class ResultVerdict(Enum):
    NEW = auto()
    SAID_BEFORE = auto()
    CONTRADICTS = auto()


class Progress:
    """The state of a command, and the results that brought it there. Pure."""

    def __init__(self, state: str, *, accepted: bool) -> None:
        self.state = state
        self.acceptance: DeviceCommandResult | None = None
        self.end: DeviceCommandResult | None = None
        self.says: DeviceCommandResult | None = None
        """The result whose detail and data are kept."""
        self._accepted = accepted

    def take(self, result: DeviceCommandResult, *, same: bool) -> ResultVerdict:
        """Apply a result; `same` says whether it equals what is stored of the command."""
        if result.status == "accepted":
            if self._accepted:
                return ResultVerdict.SAID_BEFORE
            self._accepted, self.acceptance = True, result
            if self.state in UNDER_WAY:
                self.state, self.says = result.status, result
            return ResultVerdict.NEW
        if self.state in ENDS:
            if self.end is not None:
                same = _content(result) == _content(self.end)
            return ResultVerdict.SAID_BEFORE if same else ResultVerdict.CONTRADICTS
        self.state, self.end, self.says = result.status, result, result
        return ResultVerdict.NEW


def _content(result: DeviceCommandResult) -> object:
    return result.status, result.detail, None if result.data is None else msgspec.json.decode(result.data)


async def store_command_results(
    connection: PoolConnection, results: Sequence[DeviceCommandResult], outcome: ItemCounts
) -> list[Reject]:
    """Apply all results, count them in `outcome`, and return those that cannot be true as rejects."""
    known = await connection.fetch(
        KNOWN,
        [result.command_id for result in results],
        [result.route.device.device_id for result in results],
        [result.status for result in results],
        [result.detail for result in results],
        [result.data for result in results],
    )
    commands: dict[UUID, Progress] = {}
    verdicts: defaultdict[ResultVerdict, list[DeviceCommandResult]] = defaultdict(list)
    for row in known:
        result = results[row["n"] - 1]
        command = commands.setdefault(result.command_id, Progress(row["state"], accepted=row["accepted"]))
        verdicts[command.take(result, same=row["same"])].append(result)
    await _change(connection, {key: one for key, one in commands.items() if one.acceptance or one.end})
    outcome.committed["result"] += len(verdicts[ResultVerdict.NEW])
    outcome.duplicate["result"] += len(verdicts[ResultVerdict.SAID_BEFORE])
    foreign = set(range(len(results))) - {row["n"] - 1 for row in known}
    return [
        *(
            reject_item(result, Reason.CONFLICT, "the command has ended, with another result")
            for result in verdicts[ResultVerdict.CONTRADICTS]
        ),
        *(
            reject_item(results[n], Reason.UNKNOWN_COMMAND, "this device was given no command of that id")
            for n in sorted(foreign)
        ),
    ]


async def _change(connection: PoolConnection, commands: dict[UUID, Progress]) -> None:
    if not commands:
        return
    says = [command.says for command in commands.values()]
    await connection.execute(
        CHANGE,
        list(commands),
        [command.state for command in commands.values()],
        [_said_at(command.acceptance) for command in commands.values()],
        [_said_at(command.end) for command in commands.values()],
        [result is not None for result in says],
        [result.detail if result else None for result in says],
        [result.data if result else None for result in says],
    )


def _said_at(result: DeviceCommandResult | None) -> object:
    """The time that the device says, but at most that of receipt: a clock without battery may say anything."""
    return None if result is None else moment(min(max(result.t, 0.0), result.received_ms))
