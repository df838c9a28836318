"""What devices say became of commands → the commands' states, in the transaction of the batch.

States move forward only. What is said again is a duplicate; what contradicts a result before it, or is of a command
that this device was not given, goes to quarantine. A command that was taken for expired, or was cancelled when it was
under way already, still comes to its true end: it is known then.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from enum import Enum, auto
from uuid import UUID

import msgspec

from gateway.intake.accounting import Outcome
from gateway.intake.rejects import reject_item
from gateway.items import Answer, Reject, moment
from gateway.runtime.database import Transaction
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
# Times are the device's, where they can be true by ours.
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


class Verdict(Enum):
    NEW = auto()
    SAID_BEFORE = auto()
    CONTRADICTS = auto()


class Progress:
    """How far a command has come, and what has brought it there. Pure."""

    def __init__(self, state: str, *, accepted: bool) -> None:
        self.state = state
        self.acceptance: Answer | None = None
        self.end: Answer | None = None
        self.says: Answer | None = None
        """Whose detail and data are kept."""
        self._accepted = accepted

    def take(self, answer: Answer, *, same: bool) -> Verdict:
        """`same`: it is what is stored of the command."""
        if answer.status == "accepted":
            if self._accepted:
                return Verdict.SAID_BEFORE
            self._accepted, self.acceptance = True, answer
            if self.state in UNDER_WAY:
                self.state, self.says = answer.status, answer
            return Verdict.NEW
        if self.state in ENDS:
            if self.end is not None:
                same = _content(answer) == _content(self.end)
            return Verdict.SAID_BEFORE if same else Verdict.CONTRADICTS
        self.state, self.end, self.says = answer.status, answer, answer
        return Verdict.NEW


def _content(answer: Answer) -> object:
    return answer.status, answer.detail, None if answer.data is None else msgspec.json.decode(answer.data)


async def store_answers(connection: Transaction, answers: Sequence[Answer], outcome: Outcome) -> list[Reject]:
    """All of them; those that cannot be true are returned."""
    known = await connection.fetch(
        KNOWN,
        [answer.command_id for answer in answers],
        [answer.route.device.device_id for answer in answers],
        [answer.status for answer in answers],
        [answer.detail for answer in answers],
        [answer.data for answer in answers],
    )
    commands: dict[UUID, Progress] = {}
    verdicts: defaultdict[Verdict, list[Answer]] = defaultdict(list)
    for row in known:
        answer = answers[row["n"] - 1]
        command = commands.setdefault(answer.command_id, Progress(row["state"], accepted=row["accepted"]))
        verdicts[command.take(answer, same=row["same"])].append(answer)
    await _change(connection, {key: one for key, one in commands.items() if one.acceptance or one.end})
    outcome.committed["result"] += len(verdicts[Verdict.NEW])
    outcome.duplicate["result"] += len(verdicts[Verdict.SAID_BEFORE])
    foreign = set(range(len(answers))) - {row["n"] - 1 for row in known}
    return [
        *(
            reject_item(answer, Reason.CONFLICT, "the command has ended, with another result")
            for answer in verdicts[Verdict.CONTRADICTS]
        ),
        *(
            reject_item(answers[n], Reason.UNKNOWN_COMMAND, "this device was given no command of that id")
            for n in sorted(foreign)
        ),
    ]


async def _change(connection: Transaction, commands: dict[UUID, Progress]) -> None:
    if not commands:
        return
    says = [command.says for command in commands.values()]
    await connection.execute(
        CHANGE,
        list(commands),
        [command.state for command in commands.values()],
        [_said_at(command.acceptance) for command in commands.values()],
        [_said_at(command.end) for command in commands.values()],
        [answer is not None for answer in says],
        [answer.detail if answer else None for answer in says],
        [answer.data if answer else None for answer in says],
    )


def _said_at(answer: Answer | None) -> object:
    """No later than it was received; what a clock without battery says may be anything."""
    return None if answer is None else moment(min(max(answer.t, 0.0), answer.received_ms))
