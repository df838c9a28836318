"""Preconditions of changes: which version of a thing a change is meant for (ETag, If-Match, If-None-Match)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Protocol

from fastapi import Depends, Header, Response

from api.http import answers
from api.problems import BadParameter, PreconditionFailed

ETAG = re.compile(r'(W/)?"([\x21\x23-\x7e]*)"')
NONE = -1
"""A version that nothing has."""
ABSENT = 0
"""The version of a thing that is not there yet."""


IfMatch = Annotated[str | None, Header(description="the ETag that it must have", examples=['"3"'])]


@dataclass(frozen=True, slots=True)
class Expected:
    """The version that a thing must have before it is changed."""

    version: int | None = None
    """None: any version; 0: the thing must not exist."""
    there: bool = False
    """Whether the thing must exist, in whatever version."""

    def version_of(self, stored: Mapping[str, Any] | None, what: str) -> int | None:
        """Return the version that must be stored. Raises PreconditionFailed if there must be one and is none."""
        if not self.there:
            return self.version
        if stored is None:
            raise PreconditionFailed(f"there is no {what}")
        return int(stored["version"])


async def _expected(
    if_match: IfMatch = None,
    if_none_match: Annotated[str | None, Header(description="*: only if there is none of this name")] = None,
) -> Expected:
    if if_match is not None and if_none_match is not None:
        raise BadParameter("If-Match", "and If-None-Match together: send one of them")
    if if_none_match is not None:
        return Expected(only_new(if_none_match))
    version = wanted(if_match)
    return Expected(version, there=if_match is not None and version is None)


ExpectedByHeader = Annotated[Expected, Depends(_expected)]


class Versioned(Protocol):
    @property
    def version(self) -> int: ...


def tagged(item: Versioned, status: int = 200) -> Response:
    """An answer with the ETag of what it shows."""
    answer = answers.json(item, status)
    answer.headers["ETag"] = f'"{item.version}"'
    return answer


def wanted(if_match: str | None) -> int | None:
    """Return the version that If-Match asks for; None is any. A weak or foreign tag is of no version."""
    text = "*" if if_match is None else if_match.strip()
    if text == "*":
        return None
    found = ETAG.fullmatch(text)
    if found is None:
        raise BadParameter("If-Match", 'is one ETag, like "3" with its quotation marks, or *')
    weak, tag = found.groups()
    return NONE if weak or not re.fullmatch("[1-9][0-9]{0,8}", tag) else int(tag)


def only_new(if_none_match: str) -> int:
    """Return the version that If-None-Match asks for. Only `*` is allowed: make the thing only if there is none."""
    if if_none_match.strip() != "*":
        raise BadParameter("If-None-Match", "can only be *, which makes a thing only if there is none")
    return ABSENT
