"""`make up`: the local stack in the foreground. `python -m deploy.up --help` for more.

Exit status: 0 after Ctrl-C, SIGTERM or a closed terminal; 1 if something did not start or keeps ending.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from threading import Event

from rich.console import Console

from deploy.stack.errors import StackError
from deploy.stack.local import hold
from deploy.stack.paths import MAIN, Paths, short
from deploy.stack.supervisor import Supervisor
from deploy.stack.view import watch


def main() -> int:
    options = arguments()
    console = Console()
    paths = Paths(options.name)
    paths.log.mkdir(parents=True, exist_ok=True)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # a shell's background job begins with SIGINT ignored
        signal.signal(number, signal.default_int_handler)
    try:
        hold(paths)  # until this process ends
    except StackError as error:
        print(error, file=sys.stderr)
        return 1
    supervisor = Supervisor(
        paths, devices=options.devices, rate=options.rate, canary=options.canary, say=say, environment=os.environ
    )
    status = 0
    try:
        supervisor.start()
        announce(supervisor)
        watch(supervisor, console)
    except KeyboardInterrupt:
        say("")
    except StackError as error:
        say(str(error))
        status = 1
    finally:
        stop(supervisor)
    return status


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m deploy.up", description="Run the local stack until Ctrl-C.")
    parser.add_argument("--name", default=MAIN, help="another name gives another stack, with data of its own")
    parser.add_argument("--devices", type=int, default=8, help="simulated devices; 0 for none (default: 8)")
    parser.add_argument("--rate", type=float, default=1.0, help="frames a second of each device (default: 1)")
    parser.add_argument(
        "--no-canary", dest="canary", action="store_false", help="no device that only tests the whole way"
    )
    return parser.parse_args()


def announce(supervisor: Supervisor) -> None:
    at = supervisor.endpoints
    say(f"Biogate is up: API {at.api}, MQTT {at.mqtt}, gateway metrics {at.gateway}/metrics")
    say(f"The API asks for a key: curl -H @{short(supervisor.paths.key)}.header {at.api}/api/v1/latest")


def stop(supervisor: Supervisor) -> None:
    """From here on a signal means: hurry."""
    hurry = Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: hurry.set())
    if supervisor.services:
        say("Stopping. The data stay; Ctrl-C again kills what is left.")
    supervisor.stop(hurry)


def say(line: str) -> None:
    """To the terminal, if it is still there."""
    try:
        print(line, flush=True)
    except OSError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 - for the rest of the process


if __name__ == "__main__":
    sys.exit(main())
