"""A notifier as a process: `python -m tests.gateway.alarms.notify.process`, with its settings in the environment."""

from __future__ import annotations

import asyncio

from gateway.alarms.notify.notifier import Notifier
from gateway.runtime.database import create_pool
from gateway.settings import Settings


async def main() -> None:
    settings = Settings()
    leading = asyncio.Event()
    leading.set()
    async with create_pool(settings) as pool:
        await Notifier(settings, pool, leading).run()


if __name__ == "__main__":
    asyncio.run(main())
