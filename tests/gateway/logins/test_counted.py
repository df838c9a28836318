"""What is counted of logins: each by the state that it got, once; and those on which work is due, or fails."""

from __future__ import annotations

from prometheus_client import REGISTRY

from tests.gateway.cell import Cell
from tests.gateway.material import until
from tests.gateway.samples import counted, more

APPLIED = "biogate_credentials_applied_total{to=%s}"


async def test_logins_are_counted_by_what_became_of_them(cell: Cell) -> None:
    before = counted()
    async with cell.administered():
        await cell.login("r1")
        await cell.login("r2")
        await cell.settled()
        await cell.command("r1", "suspend")
        await cell.settled()
        await cell.command("r2", "revoke")
        await cell.settled()
        await cell.command("r1", "resume")
        await cell.settled()
        await cell.status("r1", 1)
        applied = {APPLIED % "present": 3, APPLIED % "disabled": 1, APPLIED % "absent": 1}
        expected = applied | {"biogate_credentials_activated_total": 1}
        await until(lambda: more(before, "biogate_credentials_applied", "biogate_credentials_activated") == expected)
        assert more(before, "biogate_credentials_reconciliations") == {"biogate_credentials_reconciliations_total": 1}
        assert more(before, "biogate_credentials_repaired") == {}


async def test_a_login_that_cannot_be_made_is_due_and_stuck_and_holds_up_no_other(cell: Cell) -> None:
    def told() -> list[float | None]:
        return [REGISTRY.get_sample_value(f"biogate_credentials_{name}") for name in ("due", "stuck")]

    async with cell.administered() as leading:
        await until(lambda: told() == [0, 0])
        username = await cell.login("r1")
        await cell.pool.execute("update credentials set password = 'no seal' where username = $1", username)
        good = await cell.login("r2")
        await until(lambda: cell.gets_in(good))
        await until(lambda: told() == [1, 1])
        leading.clear()
        await until(lambda: told() == [None, None])
