"""What became of items, counted: nothing under the name of something else, and nothing left out of a sum."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields
from itertools import count
from typing import Any

from gateway.intake import accounting
from gateway.intake.accounting import ItemCounts
from gateway.items import ITEM_KINDS, Device
from schema.reasons import Reason
from tests.gateway.samples import counted, more

NAMES = {
    "committed": "biogate_intake_committed_total",
    "duplicate": "biogate_intake_duplicate_total",
    "quarantined": "biogate_intake_quarantined_total",
    "discarded": "biogate_intake_discarded_total",
    "reasons": "biogate_quarantined_total",
    "refused": "biogate_discarded_total",
    "lost": "biogate_lost_frames_total",
    "unbelieved": "biogate_losses_unbelieved_total",
}


def distinct(first: int) -> dict[str, Any]:
    """A value for each field of ItemCounts; no number in them comes twice."""
    number = count(first)
    values: dict[str, Any] = {}
    for field in fields(ItemCounts):
        match field.name:
            case "reasons" | "refused":
                values[field.name] = Counter({reason: next(number) for reason in Reason})
            case "unkept":
                values[field.name] = [(Device(next(number), "r"), 1, 2, 3)]
            case "lost" | "unbelieved" | "transaction_id":
                values[field.name] = next(number)
            case _:
                values[field.name] = Counter({kind: next(number) for kind in ITEM_KINDS})
    return values


def test_each_count_is_exported_under_its_own_name() -> None:
    values, before = distinct(1), counted()
    accounting.settled([], ItemCounts(**values))
    expected: dict[str, float] = {}
    for field, name in NAMES.items():
        if isinstance(values[field], Counter):
            label = "reason" if field in {"reasons", "refused"} else "kind"
            expected |= {f"{name}{{{label}={key}}}": number for key, number in values[field].items()}
        else:
            expected[name] = values[field]
    assert more(before, "biogate_") == expected
    assert {field.name for field in fields(ItemCounts)} == {*NAMES, "unkept", "transaction_id"}


def test_a_sum_has_all_of_both() -> None:
    one, other = distinct(1), distinct(1001)
    both = vars(ItemCounts(**one) + ItemCounts(**other))
    assert both.pop("transaction_id") == max(one.pop("transaction_id"), other.pop("transaction_id"))
    assert both == {name: one[name] + other[name] for name in one}
