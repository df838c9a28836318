"""Reads the channels that rules use out of a row of the table `frames`."""

from __future__ import annotations

from collections.abc import Sequence


def sent(
    picks: Sequence[tuple[int, str]], values: Sequence[float | None], quality: Sequence[int | None] | None
) -> list[tuple[str, float | None, int]]:
    """(channel, value, quality) of the picked channels that the frame has. `picks`: (slot from 0, channel)."""
    if quality is None:
        return [(name, value, 0) for slot, name in picks if (value := values[slot]) is not None]
    return [(name, values[slot], mark) for slot, name in picks if (mark := quality[slot]) is not None]
