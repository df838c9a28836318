"""All faults by name, with what they need."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from tests.faults.proxy import Mode
from tests.faults.strikes import (
    Strike,
    cut_off_leader,
    cut_power_of_devices,
    fail_over,
    fill_disk,
    flood_of_poison,
    freeze,
    freeze_gateway,
    kill_broker,
    kill_broker_and_its_memory,
    kill_everything,
    kill_gateway,
    kill_gateway_in_quick_succession,
    kill_leader,
    kill_postgres,
    let_run,
    lose_the_queue,
    network,
    stop_postgres_for_long,
    storm_of_duplicates,
    terminate_gateway,
    to_broker,
    to_database,
)

SLOW = "100 ms, 400 kB/s"


class Ground(Enum):
    """The database server it happens on."""

    SHARED = "one for many runs"
    SMALL_DISK = "on a small disk of its own"
    REPLICATED = "with a synchronous standby"


@dataclass(frozen=True)
class Scenario:
    name: str
    what: str
    """For people, in the table of the results."""
    strike: Strike
    strikes: int = 3
    """In one run, at random moments."""
    gateways: int = 1
    links: bool = False
    """Whether gateways reach broker and database through links that can be cut."""
    simulator: tuple[str, ...] = ()
    """Options that make the devices themselves misbehave, during the whole run."""
    reasons: frozenset[str] = frozenset()
    """For which frames of the devices may be in quarantine."""
    ground: Ground = Ground.SHARED


ALL = (
    # gateway, PostgreSQL, Mosquitto
    Scenario("gateway-kill", "gateway: kill -9", kill_gateway, 5),
    Scenario("gateway-kills", "gateway: kill -9, five times within seconds", kill_gateway_in_quick_succession),
    Scenario("gateway-term", "gateway: SIGTERM, then started again", terminate_gateway, 5),
    Scenario("gateway-stop", "gateway: SIGSTOP for 30 s", freeze_gateway, 1),
    Scenario("postgres-kill", "PostgreSQL: kill -9 of all its processes", kill_postgres),
    Scenario("postgres-stop", "PostgreSQL: SIGSTOP for 30 s", freeze(lambda plant: plant.postgres), 1),
    Scenario("postgres-away", "PostgreSQL: away for 5 minutes", stop_postgres_for_long, 1),
    Scenario("disk-full", "PostgreSQL: disk full for 20 s, then freed", fill_disk, 2, ground=Ground.SMALL_DISK),
    Scenario("broker-kill", "Mosquitto: kill -9", kill_broker),
    Scenario("broker-lost", "Mosquitto: kill -9, and all it had saved is lost", kill_broker_and_its_memory),
    Scenario("queue-lost", "gateway: gone for 10 s, then Mosquitto: kill -9, its queue is lost", lose_the_queue),
    Scenario("broker-stop", "Mosquitto: SIGSTOP for 30 s", freeze(lambda plant: plant.broker), 1),
    Scenario(
        "power-cut", "gateway, PostgreSQL, Mosquitto: kill -9 at once, all saved by the last lost", kill_everything
    ),
    # network
    Scenario("broker-cut", "gateway ↔ broker: cut for 5 s", network(to_broker, Mode.CUT, 5), links=True),
    Scenario("broker-hang", "gateway ↔ broker: packets vanish, 30 s", network(to_broker, Mode.HANG, 30), 1, links=True),
    Scenario("broker-slow", f"gateway ↔ broker: {SLOW} for 15 s", network(to_broker, Mode.SLOW, 15), 2, links=True),
    Scenario("database-cut", "gateway ↔ database: cut for 5 s", network(to_database, Mode.CUT, 5), links=True),
    Scenario(
        "database-hang", "gateway ↔ database: packets vanish, 30 s", network(to_database, Mode.HANG, 30), 1, links=True
    ),
    Scenario(
        "database-slow", f"gateway ↔ database: {SLOW} for 15 s", network(to_database, Mode.SLOW, 15), 2, links=True
    ),
    # devices
    Scenario("device-reboot", "devices: one reboots every second", let_run, 1, simulator=("--reboot-every", "1")),
    Scenario("device-power", "devices: all lose their power at once", cut_power_of_devices),
    Scenario(
        "clock-step",
        "devices: a clock steps within ±30 s, every 2 s",
        let_run,
        1,
        simulator=("--clock-step-every", "2"),
        reasons=frozenset({"conflict"}),
    ),
    Scenario(
        "device-faults",
        "devices: 20% sent twice, 10% late, 5% held back, 10% poison besides",
        let_run,
        1,
        simulator=("--duplicates", "0.2", "--late", "0.1", "--drop", "0.05", "--poison", "0.1"),
    ),
    Scenario(
        "device-holes",
        "devices: 30% of the frames held back until asked for",
        let_run,
        1,
        simulator=("--drop", "0.3"),
    ),
    Scenario("duplicates", "a storm: two seconds of telemetry published five times more", storm_of_duplicates),
    Scenario("poison", "a flood of poison from one device for 15 s", flood_of_poison, 2),
    # others take over
    Scenario("standby-kill", "two gateways: kill -9 of the leader", kill_leader, gateways=2),
    Scenario("standby-cut", "two gateways: the leader's packets vanish", cut_off_leader, 2, gateways=2, links=True),
    Scenario(
        "fail-over",
        "PostgreSQL: kill -9, its synchronous standby is promoted",
        fail_over,
        1,
        ground=Ground.REPLICATED,
    ),
)
