"""One way to call the methods of `Client` and of `AsyncClient`."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from biogate import AsyncClient, Client

HASTY_S = 20.0


@dataclass(frozen=True)
class Asker:
    """Calls a method by its name, with a client of its own: in a thread, or in the loop."""

    kind: str
    url: str
    key: str
    patience: float = HASTY_S

    async def __call__(self, method: str, *arguments: Any, **named: Any) -> Any:
        if self.kind == "sync":
            with Client(self.url, key=self.key, patience=self.patience) as client:
                return await asyncio.to_thread(getattr(client, method), *arguments, **named)
        async with AsyncClient(self.url, key=self.key, patience=self.patience) as own:
            return await getattr(own, method)(*arguments, **named)
