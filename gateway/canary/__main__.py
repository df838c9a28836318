"""`python -m gateway.canary`: publish and read back until a signal. Exit: 0 stopped, 1 failed, 2 wrong settings."""

from __future__ import annotations

import asyncio
import sys

from pydantic import ValidationError

from gateway.canary import metrics
from gateway.canary.probe import CHANNEL, CanaryLogin, CanaryProbe
from gateway.canary.reader import CanaryReader
from gateway.canary.settings import CanarySettings
from gateway.runtime import logs
from gateway.runtime.events import stop_signal
from gateway.runtime.health import serve
from gateway.runtime.metric_kinds import watch_event_loop


async def run(settings: CanarySettings, probe: CanaryProbe) -> None:
    stop = stop_signal()

    async def troubles() -> list[str]:
        return [probe.trouble] if probe.trouble else []

    async with serve(settings.canary_http_host, settings.canary_http_port, troubles):
        work = [
            asyncio.create_task(probe.run(), name="probe"),
            asyncio.create_task(watch_event_loop(metrics.EVENT_LOOP_LAG.observe), name="event loop"),
        ]
        stopped = asyncio.create_task(stop.wait(), name="stop")
        await asyncio.wait([*work, stopped], return_when=asyncio.FIRST_COMPLETED)
        for task in (*work, stopped):
            task.cancel()
        for task in work:
            if task.done() and not task.cancelled():
                task.result()


def main() -> int:
    try:
        settings = CanarySettings()
        login = CanaryLogin(settings.canary_login)
        settings.canary_key_file.read_text()
    except ValidationError as error:
        for problem in error.errors():
            print(f"canary: BIOGATE_{str(problem['loc'][0]).upper()}: {problem['msg']}", file=sys.stderr)  # noqa: T201
        return 2
    except (OSError, ValueError, KeyError) as error:
        print(f"canary: the login or the key cannot be read: {error}", file=sys.stderr)  # noqa: T201
        return 2
    logs.configure(settings.log_level)
    probe = CanaryProbe(
        settings, login, CanaryReader(str(settings.canary_api_url), settings.canary_key_file, login.device, CHANNEL)
    )
    try:
        asyncio.run(run(settings, probe))
    except OSError as error:
        print(f"canary: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
