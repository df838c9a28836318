"""What a plant remembers over a restart: since when it runs, and until when each device has produced frames.

A plant that starts again goes on where it stopped, and tells what happened meanwhile; no time is told twice. The time
in the file is always somewhat ahead of the newest frame, so that a plant that was killed does not repeat any.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

NAME = "plant.json"
AHEAD = 30_000
"""Ms by which the file is ahead while the plant runs."""


class _Pages(msgspec.Struct):
    begin: int
    seed: int
    until: dict[str, int] = {}


class PlantMemory:
    def __init__(self, directory: Path | None, seed: int, begin: float) -> None:
        """Open the memory; a plant that has none, or had another seed, begins at `begin`. Raises ValueError."""
        self._file = directory / NAME if directory else None
        self._pages = _Pages(int(begin), seed)
        if self._file and self._file.exists():
            try:
                pages = msgspec.json.decode(self._file.read_bytes(), type=_Pages)
            except msgspec.DecodeError as error:
                raise ValueError(f"{self._file} is damaged: {error}") from error
            if pages.seed == seed:
                self._pages = pages

    @property
    def begin(self) -> int:
        """When the vessels began to live."""
        return self._pages.begin

    def until(self, name: str) -> int:
        """The device has produced frames up to this time (ms); 0: none yet."""
        return self._pages.until.get(name, 0)

    def note(self, names: Iterable[str], time: float) -> None:
        """Note that these devices have produced frames up to this time, or will have, before it is noted again."""
        if self._file is None:
            return
        for name in names:
            self._pages.until[name] = int(time)
        draft = self._file.with_name(f"{NAME}.new")
        draft.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(msgspec.json.encode(self._pages))
        draft.replace(self._file)
