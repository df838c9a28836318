"""Broker and database compared: the decision alone, then with a real broker that somebody has meddled with."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import replace

import pytest
from prometheus_client import REGISTRY

from gateway.logins.dynsec import LoginAtBroker
from gateway.logins.reconcile import MANY, LoginDifferences, Repair, StoredLogin, compare
from gateway.logins.roles import DEFAULTS, FIXED, ROLE_PREFIX, Acl, BrokerRole, device_role
from tests.gateway.cell import Cell, eventually
from tests.gateway.material import until
from tests.gateway.samples import counted, more

OURS = [LoginAtBroker(name, frozenset({name}), None, disabled=False) for name in FIXED]
ROLES = [*FIXED.values()]


def known(device: str, generation: int = 1, *, disabled: bool = False, role: str | None = None) -> LoginAtBroker:
    return LoginAtBroker(f"{device}.{generation}", frozenset({role or ROLE_PREFIX + device}), None, disabled=disabled)


def row(device: str, wanted: str = "present", applied: str | None = None, **more: object) -> StoredLogin:
    given = {"kind": "password", "client_id": None, "sealed": False, "username": f"{device}.1"} | more
    return StoredLogin(device=device, wanted=wanted, applied=applied or wanted, **given)  # type: ignore[arg-type]


def found(clients: list[LoginAtBroker], roles: list[str], rows: list[StoredLogin]) -> LoginDifferences:
    return compare([*OURS, *clients], [*ROLES, *map(device_role, roles)], rows, enrollment_open=True)


def repairs(clients: list[LoginAtBroker], roles: list[str], rows: list[StoredLogin]) -> list[tuple[str, str]]:
    return [(repair.what, repair.name) for repair in found(clients, roles, rows).repairs]


def test_nothing_differs() -> None:
    clients = [known("a"), known("b", disabled=True)]
    assert found(clients, ["a", "b"], [row("a"), row("b", "disabled")]) == LoginDifferences([], [], [], False)


def test_what_is_left_over_goes_and_the_role_after_its_login() -> None:
    assert repairs([known("a")], ["a"], []) == [("login-foreign", "a.1"), ("role-foreign", "device-a")]


def test_a_role_that_somebody_else_has_stays() -> None:
    stranger = LoginAtBroker("dashboard", frozenset({"device-a"}), None, disabled=False)
    result = found([stranger], ["a"], [])
    assert (result.repairs, result.strangers) == ([], ["dashboard"])


def test_what_is_missing_is_made_again_if_its_password_is_known() -> None:
    assert repairs([], ["a"], [row("a", sealed=True)]) == [("login-missing", "a.1")]
    assert repairs([], ["a"], [row("a", kind="certificate")]) == [("login-missing", "a.1")]
    assert found([], ["a"], [row("a")]) == LoginDifferences([], ["a.1"], [], False)
    assert found([], ["a"], [row("a", "disabled")]).lost == ["a.1"]


def test_what_is_due_anyway_is_left_alone() -> None:
    assert repairs([known("a")], ["a"], [row("a", "absent", "present")]) == []
    assert repairs([], [], [row("a", "present", "absent", sealed=True)]) == []
    assert repairs([known("a")], ["a"], [row("a", "present", "absent", sealed=True)]) == []


@pytest.mark.parametrize(
    "client",
    [
        known("a", role="gateway"),
        known("a", disabled=True),
        LoginAtBroker("a.1", frozenset(), None, disabled=False),
        LoginAtBroker("a.1", frozenset({"device-a", "observer"}), None, disabled=False),
        LoginAtBroker("a.1", frozenset({"device-a"}), "some", disabled=False),
    ],
)
def test_a_login_that_is_not_as_it_should_be(client: LoginAtBroker) -> None:
    assert repairs([client], ["a"], [row("a")]) == [("login-wrong", "a.1")]


def test_a_suspended_certificate_must_not_be_there_at_all() -> None:
    for disabled in (False, True):
        suspended = row("a", "disabled", kind="certificate")
        assert repairs([known("a", disabled=disabled)], ["a"], [suspended]) == [("login-wrong", "a.1")]
    assert repairs([], ["a"], [row("a", "disabled", kind="certificate")]) == []


def test_roles_that_allow_something_else() -> None:
    wide = BrokerRole("device-a", device_role("a").acls | {Acl("publishClientSend", "#")})
    wider = BrokerRole("observer", FIXED["observer"].acls | {Acl("publishClientSend", "#")})
    there = [wide, wider, *(role for role in ROLES if role.name not in ("observer", "gateway"))]
    result = compare([*OURS, known("a")], there, [row("a")], enrollment_open=True)
    assert result.repairs == [
        Repair("role-missing", "gateway"),
        Repair("role-wrong", "observer"),
        Repair("role-wrong", "device-a"),
    ]


def test_the_switch() -> None:
    for wanted in (True, False):
        result = compare(OURS, ROLES, [], enrollment_open=wanted)
        assert result.repairs == ([] if wanted else [Repair("switch", "enroll")])


def test_the_wrong_database_does_not_empty_the_broker() -> None:
    clients = [known(f"d{n}") for n in range(MANY + 1)]
    result = found(clients, [f"d{n}" for n in range(MANY + 1)], [])
    assert (result.repairs, result.suspicious) == ([], True)
    rows = [row(f"d{n}") for n in range(MANY + 1)]
    assert not found(clients + [known(f"d{n}", 2) for n in range(MANY + 1)], [], rows).suspicious


# -- with a real broker


async def test_a_login_of_ours_that_is_new_is_made_when_its_password_is_there(cell: Cell) -> None:
    """A broker of an older version has no login `alarms`, and its secrets directory no password for it."""
    async with cell.dynsec() as dynsec:
        await dynsec.delete_client("alarms")
        await dynsec.delete_role("alarms")
        await dynsec.delete_client("observer")
    whole, known = cell.secrets, {name: text for name, text in cell.secrets.passwords.items() if name != "alarms"}
    cell.secrets = replace(whole, passwords=known)
    async with cell.administered():
        await eventually(lambda: cell.gets_in("observer"), 15)
    cell.secrets = whole
    assert not await cell.gets_in("alarms")
    async with cell.administered():
        await eventually(lambda: cell.gets_in("alarms"), 15)


async def test_what_somebody_changed_is_put_right(cell: Cell) -> None:
    async with cell.administered():
        first, second, third = [await cell.login(name) for name in ("r1", "r2", "r3")]
        await cell.settled()
    async with cell.dynsec() as dynsec:
        await dynsec.create_role(device_role("x"))
        await dynsec.create_client("x.1", "device-x", "p" * 43, None)
        await dynsec.create_client("r1.7", "device-r1", "p" * 43, None)
        await dynsec.create_client("dashboard", "observer", "p" * 43, None)
        await dynsec.delete_client(second)
        await dynsec.disable_client(third)
        await dynsec.modify_role(BrokerRole("device-r1", device_role("r2").acls))
        await dynsec.modify_client("observer", "gateway", None, None)
        await dynsec.delete_client("gateway")
        await dynsec.disable_client("enroll")
    before = counted()
    async with cell.administered():
        await eventually(lambda: _repaired(cell, 9), 15)
        await cell.settled()
        await eventually(lambda: cell.gets_in("enroll"), 5)
        kinds = "select action, count(*) from audit where why = 'reconciliation' group by action"
        said = {f"{REPAIRED}{{what={kind.removeprefix('broker ')}}}": count for kind, count in await cell.sql(kinds)}
        await until(lambda: more(before, REPAIRED) == said)
    for username in (first, second, third, "gateway"):
        assert await cell.gets_in(username), username
    assert set(await cell.logins()) == {first, second, third}
    assert await cell.roles() == {"device-r1", "device-r2", "device-r3"}
    async with cell.dynsec() as dynsec:
        assert {role.name: role for role in await dynsec.roles()} == {
            role.name: role for role in (*FIXED.values(), *map(device_role, ("r1", "r2", "r3")))
        }
        assert (await dynsec.get_client("observer")).roles == {"observer"}
        assert (await dynsec.get_client("dashboard")).roles == {"observer"}  # none of our affair
    assert not await cell.sql("select * from audit_faults()")


REPAIRED = "biogate_credentials_repaired_total"


async def _repaired(cell: Cell, least: int) -> bool:
    return int(await cell.value("select count(*) from audit where why = 'reconciliation'")) >= least


async def test_nothing_is_done_where_nothing_differs(cell: Cell) -> None:
    async with cell.administered():
        username = await cell.login("r1", client_id="c")
        await cell.login("r2", kind="certificate")
        await cell.login("r3")
        await cell.command("r3", "suspend")
        await cell.settled()
    async with cell.administered(reconcile_interval_s=1), cell.connect(username, "c") as device:
        with pytest.raises(TimeoutError):  # and nobody is disconnected
            async with asyncio.timeout(3):
                await anext(device.messages)
    assert await cell.value("select count(*) from audit where why = 'reconciliation'") == 0


async def test_a_broker_that_forgot_everything(cell: Cell) -> None:
    """Its file is lost: the one that setup made is put there. Logins whose passwords are forgotten are told."""
    async with cell.administered():
        kept = await cell.login("r1")
        used = await cell.login("r2")
        await cell.settled()
        await cell.status("r2", 1)
        await eventually(
            lambda: cell.value("select activated_at is not null from credentials where username = $1", used), 5
        )
        cell.broker.server.kill(signal.SIGKILL)
        cell.broker.server.write_logins((cell.broker.secrets / "broker/dynamic-security.json").read_text())
        await asyncio.to_thread(cell.broker.server.start)
        await eventually(lambda: cell.gets_in(kept), 15)
        assert not await cell.gets_in(used)
    assert REGISTRY.get_sample_value("biogate_credentials_missing") == 1


async def test_defaults_that_allow_are_put_back(cell: Cell) -> None:
    async with cell.dynsec() as dynsec:
        acls = [{"acltype": kind, "allow": True} for kind in DEFAULTS]
        await dynsec._ask("setDefaultACLAccess", acls=acls)
        assert await dynsec.defaults() != DEFAULTS
        async with cell.administered():
            await eventually(lambda: _defaults_are_ours(cell), 5)


async def _defaults_are_ours(cell: Cell) -> bool:
    async with cell.dynsec() as dynsec:
        return await dynsec.defaults() == DEFAULTS
