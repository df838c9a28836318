"""How pages speak of deviations: words of links, and where these lead."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote, urlencode

from api.shapes.deviations import DeviationLinkAnswer

TYPES: Mapping[str, str] = {
    "caused-by": "Caused by",
    "seen-in": "Seen in",
    "corrected-by": "Corrected by",
    "relates-to": "Relates to",
}
BACK: Mapping[str, str] = {
    "caused-by": "Caused",
    "seen-in": "Shows",
    "corrected-by": "Corrects",
    "relates-to": "Relates to",
}
"""The same, as the thing at the other end has it."""
KINDS: Mapping[str, str] = {
    "device": "Device",
    "span": "Time of a device",
    "hole": "Hole in the delivery",
    "alarm": "Alarm",
    "command": "Command",
    "quarantine": "Message in quarantine",
    "note": "Note",
    "run": "Run",
    "sample": "Sample",
    "deviation": "Deviation",
}
HINTS: Mapping[str, str] = {
    "device": "its name",
    "span": "DEVICE/2026-11-20T07:45:00Z/2026-11-20T08:45:00Z",
    "hole": "DEVICE/BOOT/FIRST/LAST",
    "alarm": "the number of a transition",
    "command": "its id",
    "quarantine": "its number",
    "note": "its number",
    "run": "its name",
    "sample": "its name",
    "deviation": "its number",
}


def path(link: DeviationLinkAnswer) -> str | None:
    """Return the page of the thing that a link leads to, below the organization's address; None if it is not there."""
    if link.words is None:
        return None
    device, reference = quote(link.device or "", safe=""), link.reference
    if link.kind == "span":
        begin, end = reference.split("/")[1:]
        return f"vessels/{device}?{urlencode({'from': begin, 'to': end})}"
    if link.kind == "alarm" and not link.device:
        return "alarms/history"
    return {
        "device": f"devices/{device}",
        "hole": f"devices/{device}#delivery",
        "alarm": f"alarms/{device}/{link.rule}",
        "quarantine": f"delivery/quarantine/{reference}",
        "run": f"runs/{quote(reference, safe='')}",
        "sample": f"samples/{quote(reference, safe='')}",
        "deviation": f"deviations/{reference}",
    }.get(link.kind, f"vessels/{device}")  # commands and notes stand there
