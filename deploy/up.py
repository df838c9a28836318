"""`biogate up`: the local stack in the foreground. `make up` makes ready what it needs, and runs it.

Exit status: 0 after Ctrl-C, SIGTERM or a closed terminal; 1 if something did not start or keeps ending.
"""

from __future__ import annotations

import os
import signal
import sys
from threading import Event
from typing import Annotated

import typer
from rich.console import Console

from deploy.stack.errors import StackError
from deploy.stack.local import hold
from deploy.stack.paths import MAIN, Paths, short
from deploy.stack.plant import HISTORY
from deploy.stack.supervisor import Supervisor
from deploy.stack.view import watch
from schema.times import parse_duration


def past(text: str) -> str:
    """Parse the option --history; empty for none."""
    if text in {"", "0"}:
        return ""
    try:
        parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    return text


def main(
    *,
    name: Annotated[str, typer.Option(help="another name gives another stack, with data of its own")] = MAIN,
    devices: Annotated[int, typer.Option(min=0, help="simulated devices; 0 for none")] = 8,
    rate: Annotated[float, typer.Option(help="frames a second of each device")] = 1.0,
    history: Annotated[
        str, typer.Option(parser=past, metavar="DURATION", help="the past that devices tell first; 0 for none")
    ] = HISTORY,
    canary: Annotated[
        bool, typer.Option("--canary/--no-canary", help="a device of ours that tests the whole way")
    ] = True,
) -> int:
    """Run the local stack until Ctrl-C."""
    console = Console()
    paths = Paths(name)
    paths.log.mkdir(parents=True, exist_ok=True)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # a shell's background job begins with SIGINT ignored
        signal.signal(number, signal.default_int_handler)
    hold(paths)  # until this process ends
    supervisor = Supervisor(
        paths, devices=devices, rate=rate, history=history, canary=canary, say=say, environment=os.environ
    )
    status = 0
    try:
        supervisor.start()
        at = supervisor.endpoints
        say(f"Biogate is up: API {at.api}, MQTT {at.mqtt}, gateway metrics {at.gateway}/metrics")
        say(f"Open the plant in a browser, logged in (the link works once): {paths.link.read_text().strip()}")
        say(f"The API asks for a key: curl -H @{short(paths.key)}.header {at.api}/api/v1/latest")
        watch(supervisor, console)
    except KeyboardInterrupt:
        say("")
    except StackError as error:
        say(str(error))
        status = 1
    finally:
        stop(supervisor)
    return status


def stop(supervisor: Supervisor) -> None:
    """From here on a signal means: hurry."""
    hurry = Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: hurry.set())
    if supervisor.services:
        say("Stopping. The data stay; Ctrl-C again kills what is left.")
    supervisor.stop(hurry)


def say(line: str) -> None:
    """Print a line to the terminal, if it is still there."""
    try:
        print(line, flush=True)
    except OSError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 - for the rest of the process
