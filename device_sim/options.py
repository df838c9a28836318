"""The options of `biogate sim`, in groups, and what they give: time of a run, scenario, access to the broker."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from device_sim.boots import next_boots
from device_sim.claims import read_claims
from device_sim.clock import AS_FAST_AS_POSSIBLE, begin_of, wall_ms
from device_sim.connection import Broker, tls_context
from device_sim.enroll import open_keepers
from device_sim.entrance import Pace, PlantGate
from device_sim.frames import Format
from device_sim.identity import Keeper
from device_sim.outbox import LIVE
from device_sim.scenario import Fault, find
from schema.times import EPOCH, parse_duration, parse_instant

SLOTS = 20
"""The number of handshakes that run at once, at most."""
MARGIN_S = 3600
"""A run begins so much later than the oldest time that the gateway takes: its frames have to arrive yet."""


def since_ms(text: str) -> float:
    """The time (ms) that `--since` names: a duration before now, or an instant."""
    try:
        before = parse_duration(text)
    except ValueError:
        try:
            return (parse_instant(text) - EPOCH) / timedelta(milliseconds=1)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error
    return wall_ms() - before / timedelta(milliseconds=1)


# The plant

Devices = Annotated[int | None, typer.Option(min=1, help="number of devices; default 20, or all claims")]
Prefix = Annotated[str, typer.Option(help="devices are named PREFIX0001, PREFIX0002, …")]
Seed = Annotated[int, typer.Option(help="the same seed, names and times give the same signals")]
Organism = Annotated[str | None, typer.Option(help="what grows in all vessels; default: the seed chooses for each")]
Scenario = Annotated[list[str] | None, typer.Option(help="faults: a file, or a name of `sim scenarios`; repeat it")]

# Time

Rate = Annotated[float, typer.Option(min=0.001, max=500, help="frames a second of the plant's time, of each device")]
Speed = Annotated[
    float | None,
    typer.Option(
        min=0.01,
        help="speed of the plant's clock; above 1 the run begins in the past (without an end: a day ago), so that it is"
        " never ahead of the wall clock, and goes on with that when it meets it; default 1, with --since no bound",
    ),
]
Since = Annotated[
    float | None,
    typer.Option(
        parser=since_ms,
        metavar="TIME",
        help="tell the past from here on (30d, or 2026-11-20T07:45Z) on the history topic, then go on live",
    ),
]
SinceEvery = Annotated[
    float | None, typer.Option(min=0.1, help="seconds between two frames of the past; default: as --rate says")
]
MaxAge = Annotated[
    int, typer.Option(envvar="BIOGATE_MAX_AGE_S", min=1, help="oldest frames, in s, that the gateway takes")
]
Duration = Annotated[float | None, typer.Option(min=0, help="stop after so many seconds of the plant's time")]
Count = Annotated[int | None, typer.Option(min=0, help="stop after so many frames a device")]

# Firmware

Encoding = Annotated[Format, typer.Option("--format", help="encoding of the messages")]
State = Annotated[Path | None, typer.Option(help="directory of boot counters and stores; default: memory")]
Store = Annotated[
    int | None, typer.Option(min=1, help="frames a device keeps unreceipted; default 100000, without --state 10000")
]
JournalAt = Annotated[
    Path | None, typer.Option("--journal", help="directory of a record of all frames, to verify them")
]
Block = Annotated[int, typer.Option(min=1, max=LIVE, help="frames a message")]
ReplayRate = Annotated[float, typer.Option(min=0.1, help="frames a second of a device from its store")]
ResendAfter = Annotated[float, typer.Option(min=0.1, help="seconds until an unanswered frame is resent")]
AnswerAfter = Annotated[float, typer.Option(min=-1, help="seconds that a command takes; -1: no answer")]
MaxBackoff = Annotated[float, typer.Option(min=0.5, help="longest pause before connecting again, s")]

# Faults at random

Duplicates = Annotated[float, typer.Option(min=0, max=1, help="fault: share of messages sent twice")]
Late = Annotated[float, typer.Option(min=0, max=1, help="fault: share of messages sent out of order")]
Drop = Annotated[float, typer.Option(min=0, max=1, help="fault: share of frames sent only on request")]
Poison = Annotated[float, typer.Option(min=0, max=1, help="fault: malformed messages sent, per frame")]
RebootEvery = Annotated[float | None, typer.Option(min=0.1, help="fault: seconds until a device reboots")]
ClockStepEvery = Annotated[float | None, typer.Option(min=0.1, help="fault: seconds until a clock steps")]

# End and report

Deadline = Annotated[float, typer.Option(min=0, help="seconds to wait for acknowledgements at the end")]
UntilReceipted = Annotated[
    float | None, typer.Option(min=0, help="seconds after --deadline until receipts cover all; else status 1")
]
ReportEvery = Annotated[float, typer.Option(min=0.1, help="seconds between summaries")]
HttpPort = Annotated[int | None, typer.Option(min=0, max=65535, help="port of the metrics; default: none")]
HttpHost = Annotated[str, typer.Option(help="address on which the metrics are served")]

# Access

MqttUrl = Annotated[str, typer.Option(envvar="BIOGATE_MQTT_URL")]
MqttUsername = Annotated[str | None, typer.Option(envvar="BIOGATE_MQTT_USERNAME")]
MqttPassword = Annotated[str | None, typer.Option(envvar="BIOGATE_MQTT_PASSWORD")]
Ca = Annotated[Path | None, typer.Option(help="certificate of the CA of the brokers, for mqtts")]
Enroll = Annotated[str | None, typer.Option(help="enroll at mqtts://host:port; needs --claims")]
Claims = Annotated[Path | None, typer.Option(help="CSV: serial,claim_key,version")]
EnrollPassword = Annotated[
    Path | None, typer.Option("--enroll-password-file", help="file: password of the login enroll")
]
Certificate = Annotated[bool, typer.Option("--certificate", help="ask for certificates, not passwords")]
FactoryReset = Annotated[list[str] | None, typer.Option(help="serial of a device that forgets all first")]
RepeatAfter = Annotated[float, typer.Option(min=0.1, help="seconds until a request is repeated")]
LoginRetry = Annotated[float, typer.Option(min=0.1, help="seconds between tries with a refused login")]
EnrollAgain = Annotated[float, typer.Option(min=0.1, help="seconds of refusal, then enroll again")]


@dataclass(frozen=True)
class RunTime:
    """When a run begins (ms), how fast it goes, how many frames a device produces; seconds between two of the past."""

    begin: float
    speed: float
    frames: int | None
    past: float | None

    @classmethod
    def of(  # noqa: PLR0917 - as they are given
        cls, rate: float, speed: float | None, since: float | None, every: float | None, max_age: int, ends: list[int]
    ) -> RunTime:
        """`ends` are the numbers of frames after which it may end. Raises ValueError."""
        frames, wall = min(ends, default=None), wall_ms()
        if since is None:
            if every is not None:
                raise ValueError("--since-every needs --since")
            speed = speed or 1.0
            return cls(begin_of(wall, speed, None if frames is None else frames / rate * 1000), speed, frames, None)
        if since > wall:
            raise ValueError("--since is in the future")
        oldest = wall - 1000 * max(0, max_age - MARGIN_S)
        return cls(max(since, oldest), speed or AS_FAST_AS_POSSIBLE, frames, every or 1 / rate)


def faults_of(named: list[str] | None) -> list[Fault]:
    """All faults of the scenarios. Raises BadScenario, OSError."""
    return [fault for name in named or () for fault in find(name).faults]


@dataclass(frozen=True)
class EnrollmentOptions:
    """How devices enroll. Raises ValueError, OSError."""

    url: str
    claims: Path | None
    password_file: Path | None
    ca: Path | None
    state: Path | None
    certificate: bool
    resets: list[str]
    pace: Pace

    def open(self, devices: int | None, say: Callable[[str], None]) -> tuple[PlantGate, list[Keeper]]:
        if not (self.claims and self.ca and self.password_file and self.state):
            raise ValueError("--enroll needs --claims, --ca, --enroll-password-file and --state")
        gate = PlantGate.at(
            self.url, self.ca, self.password_file, certificate=self.certificate, pace=self.pace, slots=SLOTS
        )
        return gate, open_keepers(self.state, read_claims(self.claims, say)[:devices], self.resets)


def shared(url: str, username: str | None, password: str | None, ca: Path | None) -> Broker:
    """The broker, with the login that all devices share. Raises ValueError."""
    return Broker.at(url, username, password, lambda: tls_context(ca))


def boots_of(state: Path | None, names: list[str]) -> list[int]:
    """The next boots of devices: counted, or without a state taken from the clock. Raises ValueError, OSError."""
    return next_boots(state, names) if state else [int(time.time())] * len(names)
