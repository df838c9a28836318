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

from device_sim.commands import FOLLOWS_MS, MEMORY, MOST, CommandHandler
from device_sim.vessels import CHANNELS, COLUMN
from schema.messages import Command, CommandResult
from schema.topics import Kind
from tests.conftest import Broker
from tests.device_sim.line import NOW, Bench, Line
from tests.device_sim.subscriber import finish, start
from tests.gateway.controller import ask, register, until_state
from tests.processes import GatewayProcess

RECIPE = [37.0, 37.0, 10.0, 7.0, 7.0, 0.0, 80.0, 30.0] + [1.0] * (len(CHANNELS) - 8)
TEMPERATURE = {"channel": "temperature", "value": 30.0}


def command(name: str = "setpoint", parameters: object = None, **more: Any) -> Command:
    given = TEMPERATURE if parameters is None else parameters
    return msgspec.convert(
        {"id": uuid.uuid4(), "name": name, "parameters": given, "expires": int(NOW) + 60_000, **more}, Command
    )


def handler(file: Path | None = None, **more: Any) -> CommandHandler:
    made = CommandHandler("sim", file, **more)
    made.show(RECIPE, NOW)
    return made


def told(handler: CommandHandler, command: Command, time: float = NOW) -> tuple[str, str | None]:
    [result] = handler.command(command, 7, time)
    msgspec.convert(result, CommandResult)  # as in the contract
    assert result["id"] == str(command.id)
    return result["status"], result.get("detail")


def test_a_setpoint_is_shown_and_the_vessel_follows() -> None:
    controller = handler()
    assert controller.command(command(), 7, NOW)[0]["data"] == {"before": 37.0}
    at, setpoint = COLUMN["temperature"], COLUMN["temperature_setpoint"]
    seen = [controller.show(RECIPE, NOW + n * FOLLOWS_MS) for n in range(6)]
    assert [row[setpoint] for row in seen] == [30.0] * 6
    assert [row[at] for row in seen] == [round(30 + 7 * math.exp(-n), 2) for n in range(6)]
    assert [row[n] for row in seen for n in range(len(RECIPE)) if n not in (at, setpoint)] == [
        value for _ in seen for n, value in enumerate(RECIPE) if n not in (at, setpoint)
    ]
    later = NOW + 20 * FOLLOWS_MS
    told(
        controller,
        command("control", {"channel": "temperature_setpoint", "mode": "auto"}, expires=int(later) + 1),
        later,
    )
    back = [controller.show(RECIPE, later + n * FOLLOWS_MS) for n in (0, 1, 20)]
    assert [row[setpoint] for row in back] == [37.0] * 3
    assert [row[at] for row in back] == [30.0, round(37 - 7 * math.exp(-1), 2), 37.0]


def test_manual_keeps_the_setpoint_when_the_recipe_goes_on() -> None:
    controller = handler()
    told(controller, command("control", {"channel": "ph", "mode": "manual"}))
    cleaning = [*RECIPE]
    cleaning[COLUMN["ph_setpoint"]] = 9.0
    assert controller.show(cleaning, NOW)[COLUMN["ph_setpoint"]] == 7.0
    controller.lose_power()
    assert controller.show(cleaning, NOW)[COLUMN["ph_setpoint"]] == 9.0


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
        (command(parameters={"channel": "ph", "value": 700}), "value is not from 2 to 12"),
        (command(parameters={"channel": "ph", "value": True}), "value is not a number"),
        (command(parameters={"channel": "ph", "value": "7"}), "value is not a number"),
        (command("control", {"channel": "ph", "mode": "off"}), "mode is neither auto nor manual"),
        (command("identify", {"x": 1}), "the command has no parameters"),
        (command(boot=6), "the command is for boot 6, this is boot 7"),
        (command(expires=int(NOW)), "the command has expired"),
    ],
)
def test_what_it_refuses(wrong: Command, why: str) -> None:
    controller = handler()
    assert told(controller, wrong) == ("refused", why)
    assert controller.show(RECIPE, NOW) == RECIPE


def test_a_command_that_comes_again_is_answered_again_and_not_done_again(tmp_path: Path) -> None:
    """After a restart too, and when the command has expired meanwhile."""
    file = tmp_path / "r1.commands"
    controller, given = handler(file), command()
    [first] = controller.command(given, 7, NOW)
    told(controller, command(parameters={"channel": "temperature", "value": 40}))
    for one in (controller, handler(file)):
        assert one.command(given, 8, NOW + 120_000) == [first]
    assert controller.show(RECIPE, NOW)[COLUMN["temperature_setpoint"]] == 40
    assert handler(file).show(RECIPE, NOW) == RECIPE
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
