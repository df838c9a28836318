"""Whether an answer is what its definition says."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from api.http.description import Answer

Kind = TypeVar("Kind", bound=Answer)


def conforms(kind: type[Kind], content: Any) -> Kind:
    """The answer as that kind. Raises ValidationError if a field is missing, unknown, or of another type."""
    return msgspec.json.decode(msgspec.json.encode(content), type=kind)
