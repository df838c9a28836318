"""Simulates a fleet of bioreactor controllers: `biogate sim --devices 20`. All use the login of the
environment, or none; with --enroll each gets a name and a login of its own.

Writes one JSON object a line to standard output: a summary now and then, and the last one with `"final": true`.
Exit status 0: nothing was lost, and the broker acknowledged everything (with --until-receipted: receipts cover
everything, too); 1: something was lost or not acknowledged; 2: wrong usage, or a damaged store.
"""

from __future__ import annotations

import typer

from device_sim import descriptors, drawing, new_device, options, recording, replay, scenario_list
from device_sim import enroll as enrolling
from device_sim.connection import Broker
from device_sim.enroll import warn
from device_sim.entrance import Pace, PlantGate
from device_sim.frames import Format
from device_sim.habits import Habits
from device_sim.identity import Keeper
from schema.command_line import commands, start
from schema.topics import is_device_name

app = commands("Simulate bioreactor controllers that publish telemetry, status and events over MQTT 5.")


@app.callback(invoke_without_command=True)
def main(  # noqa: PLR0917 - typer's options
    context: typer.Context,
    # the plant
    devices: options.Devices = None,
    prefix: options.Prefix = "sim-",
    seed: options.Seed = 1,
    organism: options.Organism = None,
    scenario: options.Scenario = None,
    # time
    rate: options.Rate = 1.0,
    speed: options.Speed = None,
    since: options.Since = None,
    since_every: options.SinceEvery = None,
    max_age: options.MaxAge = 2_592_000,
    duration: options.Duration = None,
    count: options.Count = None,
    # firmware
    format: options.Encoding = Format.MSGPACK,
    state: options.State = None,
    store: options.Store = None,
    journal: options.JournalAt = None,
    block: options.Block = 1,
    replay_rate: options.ReplayRate = 100.0,
    resend_after: options.ResendAfter = 60.0,
    answer_after: options.AnswerAfter = 0.0,
    max_backoff: options.MaxBackoff = 15.0,
    # faults at random
    duplicates: options.Duplicates = 0.0,
    late: options.Late = 0.0,
    drop: options.Drop = 0.0,
    poison: options.Poison = 0.0,
    reboot_every: options.RebootEvery = None,
    clock_step_every: options.ClockStepEvery = None,
    # end and report
    deadline: options.Deadline = 10.0,
    until_receipted: options.UntilReceipted = None,
    report_every: options.ReportEvery = 10.0,
    http_port: options.HttpPort = None,
    http_host: options.HttpHost = "127.0.0.1",
    # access
    mqtt_url: options.MqttUrl = "mqtt://127.0.0.1:1883",
    mqtt_username: options.MqttUsername = None,
    mqtt_password: options.MqttPassword = None,
    ca: options.Ca = None,
    enroll: options.Enroll = None,
    claims: options.Claims = None,
    enroll_password_file: options.EnrollPassword = None,
    certificate: options.Certificate = False,
    factory_reset: options.FactoryReset = None,
    repeat_after: options.RepeatAfter = 2.0,
    login_retry: options.LoginRetry = 60.0,
    enroll_again: options.EnrollAgain = 600.0,
) -> None:
    """Run the fleet, unless another word is given."""
    if context.invoked_subcommand:
        return
    broker: Broker | PlantGate
    keepers: list[Keeper] = []
    ends = [limit for limit in (count, None if duration is None else round(duration * rate)) if limit is not None]
    try:
        if enroll:
            pace = Pace(repeat=repeat_after, refused=login_retry, enroll_again=enroll_again)
            entrance = options.EnrollmentOptions(
                enroll, claims, enroll_password_file, ca, state, certificate, factory_reset or [], pace
            )
            broker, keepers = entrance.open(devices, warn)
            names, boots = [keeper.serial for keeper in keepers], [0] * len(keepers)
        elif claims or enroll_password_file or certificate or factory_reset:
            raise ValueError("--claims, --enroll-password-file, --certificate and --factory-reset need --enroll")
        else:
            names = named(prefix, devices or 20)
            broker = options.shared(mqtt_url, mqtt_username, mqtt_password, ca)
            boots = options.boots_of(state, names)
        time = options.RunTime.of(rate, speed, since, since_every, max_age, ends)
        descriptors.allow(len(names), on_disk=state is not None)
    except (ValueError, OSError) as error:
        raise typer.BadParameter(str(error)) from error
    from device_sim.fleet import Plan  # noqa: PLC0415 - with SciPy: half a second that the other words do without
    from device_sim.running import run  # noqa: PLC0415

    after = None if answer_after < 0 else answer_after
    plan = Plan(
        names=names,
        boots=boots,
        broker=broker,
        keepers=keepers,
        habits=Habits(format, block, replay_rate, resend_after, duplicates, late, drop, poison, after),
        rate=rate,
        frames=time.frames,
        begin=time.begin,
        speed=time.speed,
        past=time.past,
        seed=seed,
        organism=organism,
        scenario=options.faults_of(scenario),
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
    wanted = ("unacknowledged", "events_unacknowledged", "lost", *(() if until_receipted is None else ("unreceipted",)))
    summary = run(plan, http_host, http_port)
    raise typer.Exit(1 if any(summary[what] for what in wanted) else 0)


app.command("enroll")(enrolling.main)
app.command("new-device")(new_device.main)
app.command("scenarios")(scenario_list.main)
app.command("record")(recording.main)
app.command("replay")(replay.main)
app.command("plot")(drawing.main)


def named(prefix: str, count: int) -> list[str]:
    """The names of devices. Raises ValueError."""
    names = [f"{prefix}{number:04}" for number in range(1, count + 1)]
    if not is_device_name(names[-1]):
        raise ValueError(f"{names[-1]} is no device name")
    return names


if __name__ == "__main__":
    start(app, "biogate sim")
