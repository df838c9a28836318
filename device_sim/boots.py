"""Boot counters of devices, one small file each, durable before the boot is used."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path


def next_boots(state: Path, names: Sequence[str], floor: int = 0) -> list[int]:
    """Count one more boot for each device and return its number; the first is 1, or the floor if that is higher.
    Raises ValueError on a damaged file.

    A number is on the disk before it is returned: whatever dies afterwards, the next boot gets a greater one.
    """
    state.mkdir(parents=True, exist_ok=True)
    boots = []
    for name in names:
        path = state / f"{name}.boot"
        boot = max(_read(path) + 1, floor)
        draft = state / f"{name}.boot.new"
        with draft.open("w") as file:
            file.write(f"{boot}\n")
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        boots.append(boot)
    directory = os.open(state, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return boots


def _read(path: Path) -> int:
    if not path.exists():
        return 0
    text = path.read_text()
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{path} does not hold a boot counter: {text!r}") from None
