"""What can be seen of an attack from outside: what was answered, counted and written into the audit trail."""

from __future__ import annotations

import json
from typing import Any

from tests.system.enrollment.device import Device
from tests.system.enrollment.plant import Plant, eventually

REFUSED = 0x80
"""Codes of MQTT from here on are errors."""


class Count:
    """What was refused since it was made."""

    def __init__(self, plant: Plant, audited: int) -> None:
        self._plant, self._before, self._audited = plant, plant.refusals(), audited

    def of(self, code: str) -> float:
        return self._plant.refusals().get(code, 0) - self._before.get(code, 0)

    async def assert_refused(self, code: str, times: int = 1, *, by: Device | None = None) -> None:
        """At least so often, and the audit trail says so. `by`: in a handshake of this serial; it has an event of
        its own if it had given the right proof, and otherwise is summed up with others, once a minute."""
        counted = self.of(code)
        assert counted >= times, f"{code} was counted {counted:g} times, not {times}"
        if by is not None:
            await eventually(lambda: self._ended(code, by), 5, f"an entry of {code} for {by.serial}")

    async def _ended(self, code: str, device: Device) -> bool:
        entries = await self._plant.audit(self._audited)
        own = [row for row in entries if row["subject"] == f"serial/{device.serial}"]
        news = [json.loads(row["new"] or "{}") for row in own]
        if any(row["why"] == code for row in own) or any(
            isinstance(new, dict) and new.get("reason") == code for new in news
        ):
            return True
        summed_up = "select exists (select from audit where action = 'enrollment refused' and why = $1)"
        return bool(await self._plant.value(summed_up, code))


async def in_the_audit_trail(plant: Plant, reason: str) -> None:
    """A summary of refusals for this reason: at once for the first ones, then once a minute."""
    await plant.until("select exists (select from audit where action = 'enrollment refused' and why = $1)", reason)


async def answer(
    plant: Plant, txn: str, payload: bytes, *, retain: bool = False, patience_s: float = 2
) -> dict[str, Any] | None:
    """What comes back for a request on that number's topic; None: nothing does."""
    async with await plant.door.open(f"e-{txn}") as client:
        assert await client.subscribe(f"enroll/v1/res/{txn}") == [1]
        await client.publish(f"enroll/v1/req/{txn}", payload, retain=retain)
        try:
            reply = json.loads((await client.next(patience_s)).payload)
        except TimeoutError:
            return None
        assert isinstance(reply, dict)
        return reply


async def code_of(plant: Plant, txn: str, payload: bytes, **more: Any) -> str:
    """The code of the reject that comes."""
    reply = await answer(plant, txn, payload, **more)
    assert reply is not None, "no answer"
    assert reply["type"] == "reject", reply
    assert reply["txn"] == txn
    return str(reply["code"])


async def identities(plant: Plant, device: Device) -> tuple[Any, ...]:
    """How many logins there ever were, how many devices, and the pinned key of the serial number."""
    rows = await plant.sql(
        """select (select count(*) from credentials c join devices d using (device_id) where d.name = $1),
                  (select count(*) from devices where name = $1),
                  (select identity_key from serials where serial = $1)""",
        device.serial,
    )
    return tuple(rows[0])
