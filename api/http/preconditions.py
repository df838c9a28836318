"""Which version of a thing a change is meant for: ETag, If-Match, If-None-Match."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from fastapi import Response

from api.http import answers
from api.problems import BadParameter

ETAG = re.compile(r'(W/)?"([\x21\x23-\x7e]*)"')
NONE = -1
"""Nothing has this version."""
ABSENT = 0
"""There is nothing yet."""


def tagged(item: Mapping[str, Any], status: int = 200) -> Response:
    """An answer with the ETag of what it shows."""
    answer = answers.json(item, status)
    answer.headers["ETag"] = f'"{item["version"]}"'
    return answer


def wanted(if_match: str) -> int | None:
    """The version that If-Match asks for; None: any. A weak or foreign tag is of no version."""
    text = if_match.strip()
    if text == "*":
        return None
    found = ETAG.fullmatch(text)
    if found is None:
        raise BadParameter("If-Match", 'is one ETag, like "3" with its quotation marks, or *')
    weak, tag = found.groups()
    return NONE if weak or not re.fullmatch("[1-9][0-9]{0,8}", tag) else int(tag)


def only_new(if_none_match: str) -> int:
    """Of If-None-Match there is one use here: to make a thing, and to change none."""
    if if_none_match.strip() != "*":
        raise BadParameter("If-None-Match", "can be * alone: make it only if there is none")
    return ABSENT
