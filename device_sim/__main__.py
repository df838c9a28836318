"""Simulates a fleet of bioreactor controllers: `biogate sim --devices 20`. All use the login of the
environment, or none; with --enroll each gets a name and a login of its own.

Writes one JSON object a line to standard output: a summary now and then, and the last one with `"final": true`.
Exit status 0: nothing was lost, and the broker acknowledged everything (with --until-receipted: receipts cover
everything, too); 1: something was lost or not acknowledged; 2: wrong usage, or a damaged store.
"""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path
from typing import Annotated

import typer

from device_sim import enroll as enrolling
from device_sim import metrics
from device_sim.boots import next_boots
from device_sim.claims import read_claims
from device_sim.connection import Broker, tls_context
from device_sim.enroll import open_keepers, show, warn
from device_sim.entrance import Pace, PlantGate
from device_sim.fleet import Fleet, Plan
from device_sim.frames import Format
from device_sim.habits import Habits
from device_sim.identity import Keeper
from device_sim.outbox import LIVE
from schema.command_line import commands, start
from schema.topics import is_device_name

SLOTS = 20
"""The number of handshakes that run at once, at most."""


app = commands("Simulate bioreactor controllers that publish telemetry, status and events over MQTT 5.")


@app.callback(invoke_without_command=True)
def main(  # noqa: PLR0917 - typer's options
    context: typer.Context,
    devices: Annotated[int | None, typer.Option(min=1, help="number of devices; default 20, or all claims")] = None,
    rate: Annotated[float, typer.Option(min=0.001, max=500, help="frames a second that each device produces")] = 1.0,
    format: Annotated[Format, typer.Option(help="encoding of the messages")] = Format.MSGPACK,
    seed: Annotated[int, typer.Option(help="the same seed and names give the same signals")] = 1,
    prefix: Annotated[str, typer.Option(help="devices are named PREFIX0001, PREFIX0002, …")] = "sim-",
    state: Annotated[Path | None, typer.Option(help="directory of boot counters and stores; default: memory")] = None,
    store: Annotated[
        int | None, typer.Option(min=1, help="frames a device keeps unreceipted; default 100000, without --state 10000")
    ] = None,
    journal: Annotated[Path | None, typer.Option(help="directory of a record of all frames, to verify them")] = None,
    duration: Annotated[float | None, typer.Option(min=0, help="stop after so many seconds")] = None,
    count: Annotated[int | None, typer.Option(min=0, help="stop after so many frames a device")] = None,
    block: Annotated[int, typer.Option(min=1, max=LIVE, help="frames a message")] = 1,
    speed: Annotated[float, typer.Option(min=0, help="speed of the process as a multiple of real time")] = 1.0,
    replay_rate: Annotated[float, typer.Option(min=0.1, help="frames a second of a device from its store")] = 100.0,
    resend_after: Annotated[float, typer.Option(min=0.1, help="seconds until an unanswered frame is resent")] = 60.0,
    duplicates: Annotated[float, typer.Option(min=0, max=1, help="fault: share of messages sent twice")] = 0.0,
    late: Annotated[float, typer.Option(min=0, max=1, help="fault: share of messages sent out of order")] = 0.0,
    drop: Annotated[float, typer.Option(min=0, max=1, help="fault: share of frames sent only on request")] = 0.0,
    poison: Annotated[float, typer.Option(min=0, max=1, help="fault: malformed messages sent, per frame")] = 0.0,
    answer_after: Annotated[float, typer.Option(min=-1, help="seconds that a command takes; -1: no answer")] = 0.0,
    reboot_every: Annotated[float | None, typer.Option(min=0.1, help="fault: seconds until a device reboots")] = None,
    clock_step_every: Annotated[float | None, typer.Option(min=0.1, help="fault: seconds until a clock steps")] = None,
    deadline: Annotated[float, typer.Option(min=0, help="seconds to wait for acknowledgements at the end")] = 10.0,
    until_receipted: Annotated[
        float | None, typer.Option(min=0, help="seconds after --deadline until receipts cover all; else status 1")
    ] = None,
    max_backoff: Annotated[float, typer.Option(min=0.5, help="longest pause before connecting again, s")] = 15.0,
    report_every: Annotated[float, typer.Option(min=0.1, help="seconds between summaries")] = 10.0,
    http_port: Annotated[int | None, typer.Option(min=0, max=65535, help="port of the metrics; default: none")] = None,
    http_host: Annotated[str, typer.Option(help="address on which the metrics are served")] = "127.0.0.1",
    mqtt_url: Annotated[str, typer.Option(envvar="BIOGATE_MQTT_URL")] = "mqtt://127.0.0.1:1883",
    mqtt_username: Annotated[str | None, typer.Option(envvar="BIOGATE_MQTT_USERNAME")] = None,
    mqtt_password: Annotated[str | None, typer.Option(envvar="BIOGATE_MQTT_PASSWORD")] = None,
    ca: Annotated[Path | None, typer.Option(help="certificate of the CA of the brokers, for mqtts")] = None,
    enroll: Annotated[str | None, typer.Option(help="enroll at mqtts://host:port; needs --claims")] = None,
    claims: Annotated[Path | None, typer.Option(help="CSV: serial,claim_key,version")] = None,
    enroll_password_file: Annotated[Path | None, typer.Option(help="file: password of the login enroll")] = None,
    certificate: Annotated[bool, typer.Option("--certificate", help="ask for certificates, not passwords")] = False,
    factory_reset: Annotated[list[str] | None, typer.Option(help="serial of a device that forgets all first")] = None,
    repeat_after: Annotated[float, typer.Option(min=0.1, help="seconds until a request is repeated")] = 2.0,
    login_retry: Annotated[float, typer.Option(min=0.1, help="seconds between tries with a refused login")] = 60.0,
    enroll_again: Annotated[float, typer.Option(min=0.1, help="seconds of refusal, then enroll again")] = 600.0,
) -> None:
    """Run the fleet, unless it is to be enrolled only."""
    if context.invoked_subcommand:
        return
    broker: Broker | PlantGate
    keepers: list[Keeper] = []
    try:
        if enroll:
            if not (claims and ca and enroll_password_file and state):
                raise ValueError("--enroll needs --claims, --ca, --enroll-password-file and --state")
            pace = Pace(repeat=repeat_after, refused=login_retry, enroll_again=enroll_again)
            broker = PlantGate.at(enroll, ca, enroll_password_file, certificate=certificate, pace=pace, slots=SLOTS)
            keepers = open_keepers(state, read_claims(claims, warn)[:devices], factory_reset or [])
            names, boots = [keeper.serial for keeper in keepers], [0] * len(keepers)
        else:
            if claims or enroll_password_file or certificate or factory_reset:
                raise ValueError("--claims, --enroll-password-file, --certificate and --factory-reset need --enroll")
            names = [f"{prefix}{number:04}" for number in range(1, (devices or 20) + 1)]
            if not is_device_name(names[-1]):
                raise ValueError(f"{names[-1]} is no device name")
            broker = Broker.at(mqtt_url, mqtt_username, mqtt_password, lambda: tls_context(ca))
            boots = next_boots(state, names) if state else [int(time.time())] * len(names)
    except (ValueError, OSError) as error:
        raise typer.BadParameter(str(error)) from error
    limits = [limit for limit in (count, None if duration is None else round(duration * rate)) if limit is not None]
    after = None if answer_after < 0 else answer_after
    plan = Plan(
        names=names,
        boots=boots,
        broker=broker,
        keepers=keepers,
        habits=Habits(format, block, replay_rate, resend_after, duplicates, late, drop, poison, after),
        rate=rate,
        frames=min(limits, default=None),
        seed=seed,
        speed=speed,
        state=state,
        store=store or (100_000 if state else 10_000),
        journal=journal,
        deadline=deadline,
        until_receipted=until_receipted or 0.0,
        max_backoff=max_backoff,
        report_every=report_every,
        reboot_every=reboot_every,
        clock_step_every=clock_step_every,
    )
    try:
        fleet = Fleet(plan, warn)
    except (ValueError, OSError) as error:
        raise typer.BadParameter(str(error), param_hint="--state or --journal") from error
    if http_port is not None:
        try:
            metrics.serve(http_host, http_port, fleet.summary)
        except OSError as error:
            raise typer.BadParameter(str(error), param_hint="--http-port") from error
    summary = asyncio.run(run(fleet))
    wanted = ("unacknowledged", "events_unacknowledged", "lost", *(() if until_receipted is None else ("unreceipted",)))
    raise typer.Exit(1 if any(summary[what] for what in wanted) else 0)


app.command("enroll")(enrolling.main)


async def run(fleet: Fleet) -> dict[str, object]:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    summary = await fleet.run(stop, lambda summary: show({**summary, "final": False}))
    show({**summary, "final": True})
    return summary


if __name__ == "__main__":
    start(app, "biogate sim")
