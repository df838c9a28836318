"""Asks the system for as many open files as a fleet needs: a connection of each device, and with a store a file."""

from __future__ import annotations

import resource

SPARE = 200


def allow(devices: int, *, on_disk: bool) -> None:
    """Raise the soft limit of open files, as far as needed. Raises ValueError if the hard limit is too low."""
    needed = devices * (2 if on_disk else 1) + SPARE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise ValueError(f"{devices} devices need {needed} open files, and {hard} are allowed: raise `ulimit -Hn`")
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
