"""Cases that share the fixtures of one test, and so one database and one server, because each leaves all as it was."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import pytest

AsyncTest = Callable[..., Awaitable[None]]


def in_turn(names: str | tuple[str, ...], cases: Iterable[Any]) -> Callable[[AsyncTest], AsyncTest]:
    """Like `pytest.mark.parametrize`, one case after another in one test; each that fails is reported by itself.

    For cases that are refused or only read. One that writes wants a database of its own: `parametrize`.
    """
    words = (names,) if isinstance(names, str) else names
    given = [dict(zip(words, (case,) if isinstance(names, str) else case, strict=True)) for case in cases]

    def decorate(test: AsyncTest) -> AsyncTest:
        @functools.wraps(test)
        async def all_cases(*, subtests: pytest.Subtests, **fixtures: Any) -> None:
            for case in given:
                with subtests.test(", ".join(map(repr, case.values()))):
                    await test(**case, **fixtures)

        asked = [one for name, one in inspect.signature(test).parameters.items() if name not in words]
        asked.append(inspect.Parameter("subtests", inspect.Parameter.KEYWORD_ONLY))
        all_cases.__signature__ = inspect.Signature(asked)  # type: ignore[attr-defined]
        return all_cases

    return decorate
