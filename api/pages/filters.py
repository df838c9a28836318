"""The filters of lists: a form sends all its fields, and an empty one is not given."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from fastapi import Request
from pydantic import model_validator

from api.http.parameters import StrictParameters


class Filters(StrictParameters):
    """Base of the parameters of a page."""

    @model_validator(mode="before")
    @classmethod
    def _without_empty(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        kept = {
            name: [one for one in value if one] if isinstance(value, list) else value for name, value in given.items()
        }
        return {name: value for name, value in kept.items() if value not in ("", [])}


def query(request: Request, **changes: str | None) -> str:
    """Return the query of this page with some parameters changed; None leaves one out. All others stay, also empty
    ones: a cursor fits its own query alone."""
    kept = [(name, value) for name, value in request.query_params.multi_items() if name not in changes]
    return urlencode([*kept, *((name, value) for name, value in changes.items() if value)])
