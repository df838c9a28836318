"""Makes lab samples and records of material of what devices say in events: `sample`, `dosing`, `addition`, `harvest`.

An event that does not say enough stays an event and nothing else: nothing of it is refused, and nobody waits for it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from gateway.items import DeviceEvent, moment
from gateway.runtime.database import PoolConnection
from schema import times, units

MOST_ANALYTES = 100
SAMPLE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
KINDS = frozenset(
    {
        *("inoculum", "medium", "feed", "base", "acid", "antifoam", "additive"),
        *("sampling", "harvest", "bleed", "waste"),
    }
)
USUAL_KIND = {"dosing": "additive", "addition": "additive", "harvest": "harvest"}
"""The types of events that tell of material, and the kind that they mean if they name none."""
QUANTITIES = {"volume_ml": "mL", "volume_l": "L", "litres": "L", "mass_g": "g", "mass_kg": "kg"}
"""Names of a quantity that say its unit, beside `quantity` and `unit`."""
QUANTITY_UNITS = frozenset({*units.DIMENSIONS["mass"], *units.DIMENSIONS["volume"]})


async def make_records(
    connection: PoolConnection, events: Sequence[DeviceEvent], new: set[tuple[int, datetime, bytes]]
) -> None:
    """Store what these events tell, in their transaction; of an event that was stored before, nothing."""
    made = []
    for event in events:
        key = event.route.device.device_id, moment(event.t), event.digest
        if key in new and (event.type == "sample" or event.type in USUAL_KIND):
            new.discard(key)  # the same event may stand in a batch twice
            made += [{"device_id": key[0], "event": key[2].hex(), **record} for record in records(event)]
    if made:
        await connection.execute("select device_records_make($1)", json.dumps(made))


def records(event: DeviceEvent) -> Iterable[dict[str, Any]]:
    """Yield the sample and the material of which an event tells. Pure."""
    data = msgspec.json.decode(event.data)
    at = times.text(moment(event.t))
    if not isinstance(data, dict):
        return
    if event.type == "sample":
        yield _sample(event, data, at)
        drawn = _quantity(data)
        if drawn is not None:
            said = {"kind": "sampling", "material": _text(data.get("material"), 100) or "broth", "begins": at} | drawn
            yield {"type": "material", "said": said}
        return
    quantity, named = _quantity(data), _text(data.get("material") or data.get("what"), 100)
    said_kinds = (_text(data.get(name), 20) for name in ("kind", "what"))
    kind = next((it for it in said_kinds if it in KINDS), USUAL_KIND[event.type])
    if quantity is not None:
        said = {"kind": kind, "material": named or kind, "begins": at, "lot": _text(data.get("lot"), 100)}
        yield {"type": "material", "said": said | quantity}


def _sample(event: DeviceEvent, data: Mapping[str, Any], at: str) -> dict[str, Any]:
    name = _text(data.get("sample"), 80)
    given = data.get("analytes")
    pairs: Iterable[Any] = ()
    if isinstance(given, dict):
        pairs = ((key, it if isinstance(it, dict) else {"value": it}) for key, it in given.items())
    elif isinstance(given, list):
        pairs = ((it.get("analyte", it.get("name")), it) for it in given if isinstance(it, dict))
    found: dict[str, dict[str, Any]] = {}
    for title, one in pairs:
        analyte = _text(title, 64)
        if analyte is not None and len(found) < MOST_ANALYTES:
            found[analyte] = _analyte(analyte, one, at, f"device {event.route.device.name}")
    return {
        "type": "sample",
        "sample": name if name is not None and SAMPLE_NAME.fullmatch(name) else None,
        "said": {"taken_at": at, "location": _text(data.get("location"), 200), "note": _text(data.get("note"), 2000)},
        "analytes": list(found.values()),
    }


def _analyte(name: str, said: Mapping[str, Any], at: str, who: str) -> dict[str, Any]:
    value = _number(said.get("value"))
    reading = None if value is not None else _text(said.get("value"), 100)
    unit = _text(said.get("unit"), 20)
    measured = {"status": "taken"}
    if value is not None or reading is not None:
        measured = {"status": "measured", "measured_at": at, "measured_by": who}
    texts = {"unit": None if unit is None else units.named(unit), "method": _text(said.get("method"), 100)}
    return {"analyte": name, "value": value, "reading": reading, **texts, **measured}


def _quantity(data: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return quantity and unit; None unless both are said and can be."""
    unit = units.named(data["unit"]) if isinstance(data.get("unit"), str) else None
    found = [(data.get(name), its) for name, its in QUANTITIES.items()]
    for value, its in [(data.get("quantity"), unit), *found]:
        number = _number(value)
        if number is not None and 0 < number < 1e12 and its in QUANTITY_UNITS:
            return {"quantity": number, "unit": its}
    return None


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e300:
        return None
    return float(value) if math.isfinite(value) else None


def _text(value: object, most: int) -> str | None:
    """Return a text that can be stored and printed; None: there is none."""
    if not isinstance(value, str):
        return None
    said = value.strip()
    return said if 0 < len(said) <= most and said.isprintable() else None
