"""What Mosquitto's dynamic security plugin really answers: this is what gateway/logins/dynsec.py is built on."""

from __future__ import annotations

import asyncio
import json
import signal

import aiomqtt
import pytest

from gateway.broker.client import MqttClient, client
from gateway.logins import dynsec as module
from gateway.logins.dynsec import (
    Dynsec,
    DynsecError,
    DynsecExists,
    DynsecInUse,
    DynsecNoAnswer,
    DynsecNotFound,
    LoginAtBroker,
)
from gateway.logins.roles import CONTROL, DEFAULTS, FIXED, Acl, BrokerRole, device_role
from tests.gateway.cell import Cell

ROLE = device_role("r1")
LOGIN = ("r1.1", ROLE.name, "p" * 43, "id")


async def test_roles(cell: Cell) -> None:
    async with cell.dynsec() as dynsec:
        await dynsec.create_role(ROLE)
        with pytest.raises(DynsecExists, match="createRole device-r1: "):
            await dynsec.create_role(ROLE)
        assert await dynsec.get_role(ROLE.name) == ROLE
        other = BrokerRole(ROLE.name, frozenset({Acl("publishClientSend", "x", allow=False, priority=7)}))
        await dynsec.modify_role(other)
        assert await dynsec.get_role(ROLE.name) == other
        assert {role.name for role in await dynsec.roles()} == {*FIXED, ROLE.name}
        await dynsec.delete_role(ROLE.name)
        for command in (dynsec.get_role, dynsec.delete_role):
            with pytest.raises(DynsecNotFound):
                await command(ROLE.name)
        with pytest.raises(DynsecNotFound):
            await dynsec.modify_role(ROLE)


async def test_logins(cell: Cell) -> None:
    async with cell.dynsec() as dynsec:
        with pytest.raises(DynsecNotFound):  # the role
            await dynsec.create_client(*LOGIN)
        await dynsec.create_role(ROLE)
        await dynsec.create_client(*LOGIN)
        with pytest.raises(DynsecExists):
            await dynsec.create_client(*LOGIN)
        assert await dynsec.count() == len(FIXED) + 1
        known = LoginAtBroker("r1.1", frozenset({ROLE.name}), "id", disabled=False)
        assert await dynsec.get_client("r1.1") == known
        assert known in await dynsec.clients()
        assert await cell.gets_in("r1.1", "id", "p" * 43)
        await dynsec.disable_client("r1.1")
        await dynsec.disable_client("r1.1")
        await dynsec.modify_client("r1.1", ROLE.name, "q" * 43, None)
        assert await dynsec.get_client("r1.1") == LoginAtBroker("r1.1", frozenset({ROLE.name}), None, disabled=True)
        assert not await cell.gets_in("r1.1", "any", "q" * 43)
        await dynsec.enable_client("r1.1")
        assert await cell.gets_in("r1.1", "any", "q" * 43)
        await dynsec.modify_client("r1.1", ROLE.name, None, None)
        assert await cell.gets_in("r1.1", "any", "q" * 43)
        await dynsec.delete_client("r1.1")
        assert not await cell.gets_in("r1.1", "any", "q" * 43)
        for command in (dynsec.get_client, dynsec.delete_client, dynsec.enable_client, dynsec.disable_client):
            with pytest.raises(DynsecNotFound):
                await command("r1.1")
        with pytest.raises(DynsecNotFound):
            await dynsec.modify_client(*LOGIN)


async def test_a_login_without_password_lets_nobody_in_with_one(cell: Cell) -> None:
    async with cell.dynsec() as dynsec:
        await dynsec.create_role(ROLE)
        await dynsec.create_client("r1.1", ROLE.name, None, None)
    for password in ("x", "p" * 43):
        assert not await cell.gets_in("r1.1", password=password)
    with pytest.raises(aiomqtt.MqttError):
        async with MqttClient(
            "127.0.0.1", cell.broker.port, username="r1.1", identifier="x", protocol=aiomqtt.ProtocolVersion.V5
        ):
            pass


async def test_a_role_that_a_login_has_is_not_deleted(cell: Cell) -> None:
    """The plugin would do it, and the login would have a role whose name is what the memory holds by then."""
    async with cell.dynsec() as dynsec:
        await dynsec.create_role(ROLE)
        await dynsec.create_client(*LOGIN)
        with pytest.raises(DynsecInUse):
            await dynsec.delete_role(ROLE.name)
        assert (await dynsec.get_client("r1.1")).roles == {ROLE.name}
        await dynsec.delete_client("r1.1")
        await dynsec.delete_role(ROLE.name)


async def test_what_is_allowed_by_default(cell: Cell) -> None:
    async with cell.dynsec() as dynsec:
        assert await dynsec.defaults() == DEFAULTS
        await dynsec.set_defaults()
        assert await dynsec.defaults() == DEFAULTS


async def test_long_lists_come_in_pages(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE", 3)
    async with cell.dynsec() as dynsec:
        await dynsec.create_role(ROLE)
        for n in range(11):
            await dynsec.create_client(f"r1.{n}", ROLE.name, "p" * 43, None)
            expected = [*(f"r1.{i}" for i in range(n + 1)), *FIXED]
            assert sorted(one.username for one in await dynsec.clients()) == sorted(expected)


async def test_answers_to_other_administrators_are_not_taken_for_ours(cell: Cell) -> None:
    async with cell.dynsec() as one, cell.dynsec() as other:

        async def make(dynsec: Dynsec, first: int) -> None:
            for n in range(first, first + 30):
                await dynsec.create_role(device_role(f"r{n}"))
                assert await dynsec.get_role(f"device-r{n}") == device_role(f"r{n}")

        await asyncio.gather(make(one, 0), make(other, 100))


async def test_two_that_make_the_same_one_wins(cell: Cell) -> None:
    async with cell.dynsec() as one, cell.dynsec() as other:
        results = await asyncio.gather(one.create_role(ROLE), other.create_role(ROLE), return_exceptions=True)
        assert sorted(map(type, results), key=str) == sorted([type(None), DynsecExists], key=str)


async def test_no_answer(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANSWER_S", 0.5)
    async with cell.dynsec() as dynsec:
        cell.broker.server.kill(signal.SIGSTOP)
        try:
            with pytest.raises((DynsecNoAnswer, aiomqtt.MqttError)):
                await dynsec.create_role(ROLE)
        finally:
            cell.broker.server.kill(signal.SIGCONT)
        with pytest.raises(DynsecExists):  # it was done all the same; the late answer is not taken for this one's
            await dynsec.create_role(ROLE)


async def test_another_login_than_admin_is_told_so(cell: Cell) -> None:
    async with client(cell.settings, cell.secrets, "observer", "x") as connection:
        with pytest.raises(DynsecError, match="may not subscribe"):
            await Dynsec(connection).open()


async def test_errors_have_no_password_in_them(cell: Cell) -> None:
    async with cell.dynsec() as dynsec:
        with pytest.raises(DynsecError) as refusal:
            await dynsec.create_client(*LOGIN)
        assert "p" * 43 not in repr(refusal.value)


async def test_what_is_done_survives_a_kill_of_the_broker(cell: Cell) -> None:
    async with cell.dynsec() as dynsec:
        await dynsec.create_role(ROLE)
        await dynsec.create_client(*LOGIN)
    cell.broker.server.kill(signal.SIGKILL)
    cell.broker.server.start()
    assert await cell.gets_in("r1.1", "id", "p" * 43)


async def test_foreign_messages_on_the_topic_of_answers_are_ignored(cell: Cell) -> None:
    """Only the plugin may send there; still nothing is believed of what comes."""
    from gateway.logins.dynsec import _answer

    for payload in (b"", b"x", b"[]", b"{}", b'{"responses": 1}', b'{"responses": [1]}', b"\xff", None, 7):
        assert _answer(payload, "mark") is None
    assert _answer(json.dumps({"responses": [{"correlationData": "mark", "x": 1}]}).encode(), "mark") is not None
    async with cell.connect("observer") as observer:
        await observer.publish(CONTROL, b"{}", qos=1)
