"""Simulated controllers do what they are told, once: alone, and with broker, gateway and database."""

from __future__ import annotations

import asyncio
import math
import uuid
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import pytest

from device_sim.commands import MEMORY, MOST, CommandHandler
from device_sim.plant import Plant
from schema.messages import Command, CommandResult
from schema.topics import Kind
from tests.conftest import Broker
from tests.device_sim.line import NOW, Bench, Line
from tests.device_sim.subscriber import finish, start
from tests.gateway.controller import ask, register, until_state
from tests.processes import GatewayProcess

CHANNELS = Plant.channels
TEMPERATURE = {"channel": "temperature", "value": 30.0}


def command(name: str = "setpoint", parameters: object = None, **more: Any) -> Command:
    given = TEMPERATURE if parameters is None else parameters
    return msgspec.convert(
        {"id": uuid.uuid4(), "name": name, "parameters": given, "expires": int(NOW) + 60_000, **more}, Command
    )


def handler(file: Path | None = None, **more: Any) -> CommandHandler:
    made = CommandHandler("sim", CHANNELS, file=file, **{"order": lambda *_: None, **more})
    made.shown = [37.0 if name == "temperature_setpoint" else 1.0 for name in CHANNELS]
    return made


def told(handler: CommandHandler, command: Command, time: float = NOW) -> tuple[str, str | None]:
    [result] = handler.command(command, 7, time)
    msgspec.convert(result, CommandResult)  # as in the contract
    assert result["id"] == str(command.id)
    return result["status"], result.get("detail")


def test_a_setpoint_goes_to_the_vessel_and_back_to_the_recipe() -> None:
    vessel: list[tuple[str, float]] = []
    controller = handler(order=lambda channel, value: vessel.append((channel, value)))
    assert controller.command(command(), 7, NOW)[0]["data"] == {"before": 37.0}
    assert controller.command(command(), 7, NOW)[0]["data"] == {"before": 30.0}  # ordered, and not shown yet
    auto = command("control", {"channel": "temperature_setpoint", "mode": "auto"})
    assert controller.command(auto, 7, NOW)[0]["data"] == {"setpoint": 30.0}
    controller.lose_power()
    assert vessel[:3] == [("temperature_setpoint", 30.0)] * 2 + [("temperature_mode", 1.0)]
    assert [channel for channel, value in vessel[3:] if math.isnan(value)] == [
        *("temperature_setpoint", "temperature_setpoint", "temperature_mode")
    ]
    assert len(vessel) == 6


def test_what_the_vessel_refuses_is_refused() -> None:
    controller = handler(order=lambda channel, value: f"{channel} cannot be {value:g}")
    assert told(controller, command()) == ("refused", "temperature_setpoint cannot be 30")
    assert controller.command(command("control", {"channel": "ph", "mode": "manual"}), 7, NOW)[0]["detail"] == (
        "ph_mode cannot be 2"
    )


def test_identify() -> None:
    [result] = handler().command(command("identify", {}), 7, NOW)
    assert result["data"] == {"firmware": "sim", "channels": list(CHANNELS)}


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (command("explode"), "no such command: explode"),
        (command(parameters={}), "the parameters are channel and value"),
        (command(parameters={**TEMPERATURE, "x": 1}), "the parameters are channel and value"),
        (command(parameters={"channel": "torque", "value": 1}), "no channel of that name has a setpoint"),
        (command(parameters={"channel": 1, "value": 1}), "no channel of that name has a setpoint"),
        (command(parameters={"channel": "ph", "value": True}), "value is not a number"),
        (command(parameters={"channel": "ph", "value": "7"}), "value is not a number"),
        (command("control", {"channel": "ph", "mode": "on"}), "mode is not one of off, auto and manual"),
        (command("identify", {"x": 1}), "the command has no parameters"),
        (command(boot=6), "the command is for boot 6, this is boot 7"),
        (command(expires=int(NOW)), "the command has expired"),
    ],
)
def test_what_it_refuses(wrong: Command, why: str) -> None:
    vessel: list[object] = []
    assert told(handler(order=lambda *given: vessel.append(given)), wrong) == ("refused", why)
    assert vessel == []


def test_a_command_that_comes_again_is_answered_again_and_not_done_again(tmp_path: Path) -> None:
    """After a restart too, and when the command has expired meanwhile."""
    file = tmp_path / "r1.commands"
    vessel: list[object] = []
    controller, given = handler(file, order=lambda *order: vessel.append(order)), command()
    [first] = controller.command(given, 7, NOW)
    told(controller, command(parameters={"channel": "temperature", "value": 40}))
    for one in (controller, handler(file)):
        assert one.command(given, 8, NOW + 120_000) == [first]
    assert vessel == [("temperature_setpoint", 30.0), ("temperature_setpoint", 40.0)]
    file.write_bytes(b"[")
    with pytest.raises(ValueError, match="damaged"):
        handler(file)


def test_its_memory_is_bounded_and_forgets_nothing_that_has_not_expired() -> None:
    controller = handler()
    given = [command() for _ in range(MOST)]
    for one in given:
        told(controller, one)
    assert told(controller, command()) == ("refused", "too many commands at once")
    assert told(controller, given[0]) == ("done", None)
    told(controller, command(expires=int(NOW) + 120_000), NOW + 61_000)
    assert len(controller._answers) == MEMORY


def test_a_late_end_and_none() -> None:
    controller, given = handler(delay=5000), command()
    assert told(controller, given)[0] == "accepted"
    assert controller.command(given, 7, NOW + 1) == []  # it is at it
    assert controller.tick(NOW + 4999) == []
    [result] = controller.tick(NOW + 5000)
    assert (result["status"], result["t"]) == ("done", NOW + 5000)
    assert controller.tick(NOW + 9000) == []
    assert told(controller, given)[0] == "done"
    assert handler(delay=None).command(given, 7, NOW) == []


def results(line: Line) -> list[CommandResult]:
    return [
        msgspec.json.decode(sent.payload, type=CommandResult) for sent in line.sent if sent.kind is Kind.COMMAND_RESULT
    ]


def test_a_result_is_sent_until_the_broker_has_it() -> None:
    bench, given = Bench.with_device(), command("identify", {})
    line = bench.connect()
    bench.device.command(msgspec.json.encode(given), NOW)
    bench.device.command(b"{", NOW)
    assert "cannot be read" in bench.said[0]
    bench.flush()
    assert [result.id for result in results(line)] == [given.id]
    bench.device.disconnected()
    line = bench.connect()
    bench.flush()
    assert [result.id for result in results(line)] == [given.id]
    bench.acknowledge()
    bench.device.disconnected()
    line = bench.connect()
    bench.flush()
    assert results(line) == []


async def test_a_setpoint_goes_to_the_device_and_comes_back_in_its_telemetry(
    gateway: GatewayProcess, broker: Broker, database: asyncpg.Connection, prefix: str, tmp_path: Path
) -> None:
    name = f"{prefix}0001"
    await register(database, name)
    gateway.start()
    options = ["--devices", "1", "--rate", "10", "--state", str(tmp_path), "--answer-after", "1"]
    fleet = start(broker, prefix, *options)
    try:
        identifier = await ask(database, name, channel="temperature", value=31.5)
        row = await until_state(database, identifier, "done")
        assert row["sent_at"] <= row["accepted_at"] < row["ended_at"]
        assert set(msgspec.json.decode(row["result"])) == {"before"}
        values = "select value from telemetry where device = $1 and channel = 'temperature_setpoint' order by time desc"
        async with asyncio.timeout(10):
            while await database.fetchval(values + " limit 1", name) != 31.5:
                await asyncio.sleep(0.1)
        refused = await ask(database, name, boot=99, channel="temperature", value=20)
        await until_state(database, refused, "refused")
        fleet.kill()
        await asyncio.to_thread(fleet.wait)
        waiting = await ask(database, name, channel="temperature", value=20)
        # as after a kill of the gateway between publishing and noting it
        await database.execute("update commands set state = 'waiting' where command_id = $1", identifier)
        fleet = start(broker, prefix, *options)
        row = await until_state(database, identifier, "done")
        await until_state(database, waiting, "done")
        account = gateway.settle(6, "result")
        assert account["quarantined"] == 0
    finally:
        fleet.terminate()
        summary = await asyncio.to_thread(finish, fleet)
    assert summary["commands"] == 2
