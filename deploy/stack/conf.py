"""Renders the checkout's mosquitto.conf with other values. Standard library only."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

PLUGIN = "mosquitto_dynamic_security.so"

Changes = Mapping[str, str | None]
"""New values of options by name; None removes the option."""


def render(conf: str, settings: Changes, listeners: Mapping[str, Changes | None]) -> str:
    """Return `conf` with these options changed; absent ones are added.

    Options of a listener repeat for each listener, so they are changed by paragraph: `listeners` has the changes by the
    port that the file names, or None to remove the listener.
    """
    blocks = []
    for block in conf.strip("\n").split("\n\n"):
        port = re.search(r"^listener (\d+)", block, re.MULTILINE)
        changes = settings if port is None else listeners.get(port[1], {})
        if changes is not None:
            blocks.append(_changed(block, changes))
    text = "\n\n".join(blocks) + "\n"
    absent = [name for name in settings if not re.search(rf"^{re.escape(name)}\b", conf, re.MULTILINE)]
    return text + "".join(f"{name} {settings[name]}\n" for name in absent)


def _changed(block: str, changes: Changes) -> str:
    lines = []
    for line in block.splitlines():
        name = line.split(" ", 1)[0]
        if name not in changes:
            lines.append(line)
        elif changes[name] is not None:
            lines.append(f"{name} {changes[name]}")
    return "\n".join(lines)


def plugin_path(root: Path | None) -> str | None:
    """The path of the dynamic security plugin as a program in the Debian root `root` sees it (None: on this machine);
    None if there is none."""
    top = root or Path("/")
    for folder in ("usr/lib", "usr/local/lib", "usr/lib64"):
        for found in sorted([*(top / folder).glob(PLUGIN), *(top / folder).glob(f"*/{PLUGIN}")]):
            return str(Path("/") / found.relative_to(top))
    return None
