"""The faults, one function each: it begins the fault, ends it, returns. What must hold afterwards is in run.py."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable

from deploy.stack import StackServer
from tests.faults.attack import Flood, overhear, publish
from tests.faults.gateways import Gateway
from tests.faults.plant import Plant
from tests.faults.proxy import Link, Mode
from tests.faults.servers import Replica, fill, signal_all, start_again, wipe

Strike = Callable[[Plant], Awaitable[None]]
TAKE_OVER_S = 10.0

# Kills


async def kill_gateway(plant: Plant) -> None:
    plant.gateway.kill()
    plant.gateway.start(ready=False)


async def kill_gateway_in_quick_succession(plant: Plant) -> None:
    """Five times, as it comes up, connects, drains the queue."""
    for _ in range(5):
        plant.gateway.kill()
        plant.gateway.start(ready=False)
        await plant.pause(0.3, 2.5)


async def kill_postgres(plant: Plant) -> None:
    signal_all(plant.postgres, signal.SIGKILL)
    await plant.pause(0, 2)
    start_again(plant.postgres)


async def kill_broker(plant: Plant) -> None:
    signal_all(plant.broker, signal.SIGKILL)
    await plant.pause(0, 2)
    start_again(plant.broker)


async def kill_broker_and_its_memory(plant: Plant) -> None:
    signal_all(plant.broker, signal.SIGKILL)
    wipe(plant.broker)
    await plant.pause(0, 2)
    start_again(plant.broker)


async def lose_the_queue(plant: Plant) -> None:
    """What the devices published while there was no gateway is acknowledged to them, and nowhere but in the broker."""
    plant.gateway.kill()
    await plant.hold(10)
    signal_all(plant.broker, signal.SIGKILL)
    wipe(plant.broker)
    start_again(plant.broker)
    plant.gateway.start(ready=False)


async def kill_everything(plant: Plant) -> None:
    """A power cut of the machine with the servers, whose broker had not saved anything."""
    plant.gateway.kill()
    signal_all(plant.broker, signal.SIGKILL)
    signal_all(plant.postgres, signal.SIGKILL)
    wipe(plant.broker)
    await plant.pause(0, 2)
    start_again(plant.broker)
    plant.gateway.start(ready=False)
    await plant.pause(0, 2)
    start_again(plant.postgres)


async def terminate_gateway(plant: Plant) -> None:
    status = plant.gateway.terminate(60)
    if status != 0:
        plant.complaints.append(f"the gateway ended with status {status} on SIGTERM")
    plant.gateway.start(ready=False)


# Freezes and absences


def freeze(which: Callable[[Plant], StackServer]) -> Strike:
    async def strike(plant: Plant) -> None:
        server = which(plant)
        signal_all(server, signal.SIGSTOP)
        try:
            await plant.hold(30)
        finally:
            signal_all(server, signal.SIGCONT)

    return strike


async def freeze_gateway(plant: Plant) -> None:
    plant.gateway.child.send_signal(signal.SIGSTOP)
    try:
        await plant.hold(30)
    finally:
        plant.gateway.child.send_signal(signal.SIGCONT)


async def stop_postgres_for_long(plant: Plant) -> None:
    plant.postgres.stop()
    await plant.hold(300)
    start_again(plant.postgres)


async def fill_disk(plant: Plant) -> None:
    """PostgreSQL may refuse rows, or give up altogether; then somebody frees the disk and starts it again."""
    assert plant.ballast is not None
    fill(plant.ballast)
    await plant.hold(20)
    plant.ballast.unlink()
    await plant.pause(0, 1)
    if not plant.postgres.process.running:
        start_again(plant.postgres)


# Network


def network(which: Callable[[Plant], Link | None], mode: Mode, seconds: float) -> Strike:
    async def strike(plant: Plant) -> None:
        link = which(plant)
        assert link is not None
        link.set(mode)
        await plant.hold(seconds * plant.chance.uniform(0.5, 1.5))
        link.set(Mode.PASS)

    return strike


def to_broker(plant: Plant) -> Link | None:
    return plant.gateway.to_broker


def to_database(plant: Plant) -> Link | None:
    return plant.gateway.to_database


# Devices


async def cut_power_of_devices(plant: Plant) -> None:
    plant.simulator.kill()
    await plant.pause(0, 2)
    plant.simulator.start()


async def let_run(plant: Plant) -> None:
    """The devices themselves misbehave."""
    await plant.hold(20)


async def storm_of_duplicates(plant: Plant) -> None:
    """Everything of two seconds is published five times more, in any order."""
    heard = overhear(plant.broker.port, 2)
    storm = heard * 5
    plant.chance.shuffle(storm)
    plant.others += publish(plant.broker.port, storm)


async def flood_of_poison(plant: Plant) -> None:
    flood = Flood(plant.broker.port, plant.chance.random())
    await plant.hold(15)
    plant.others += flood.stop()


# Others take over


async def kill_leader(plant: Plant) -> None:
    leader = plant.leader
    others = commits(plant, leader)
    leader.kill()
    await taken_over(plant, others, "was killed")
    leader.start(ready=False)


async def cut_off_leader(plant: Plant) -> None:
    """Its packets vanish, to the broker and to the database. It must leave by itself: nobody can tell it."""
    leader = plant.leader
    others = commits(plant, leader)
    links = [link for link in (leader.to_broker, leader.to_database) if link is not None]
    for link in links:
        link.set(Mode.HANG)
    await taken_over(plant, others, "was cut off")
    await plant.hold(15)
    for link in links:
        link.set(Mode.PASS)


def commits(plant: Plant, leader: Gateway) -> dict[Gateway, float]:
    """What the gateways that do not lead have committed."""
    return {each: committed(each) for each in plant.gateways if each is not leader}


def committed(gateway: Gateway) -> float:
    return gateway.metrics().get('biogate_intake_committed_total{kind="frame"}', 0.0)


async def taken_over(plant: Plant, others: dict[Gateway, float], why: str) -> None:
    """Wait until another gateway commits."""
    begun = time.monotonic()
    while not any(committed(gateway) > before for gateway, before in others.items()):
        if time.monotonic() - begun > 60:
            break
        await asyncio.sleep(0.05)
    took = time.monotonic() - begun
    plant.take_overs.append(took)
    if took > TAKE_OVER_S:
        plant.complaints.append(f"the standby took over only {took:.1f} s after the leader {why}")


async def fail_over(plant: Plant) -> None:
    assert isinstance(plant.replica, Replica)
    signal_all(plant.postgres, signal.SIGKILL)
    await plant.pause(0, 3)
    await plant.replica.promote()
    plant.postgres = plant.replica
