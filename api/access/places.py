"""Shares out places for what stays open, such as live feeds: of each caller, of each organization, and in all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from api.access.roles import Principal
from api.problems import Busy, TooMany

ROOM_S = "5"
"""Seconds after which to try again, where no place is left."""


class Places:
    def __init__(self, what: str, most: int, most_of_one: int) -> None:
        """At most `most` are taken at a time, `most_of_one` by one caller, and by one organization never more than it
        leaves for all others. `what` is what they are for, in the plural."""
        self._what, self._most, self._most_of_one = what, most, most_of_one
        self._of_one: Counter[str] = Counter()
        self._of_organization: Counter[int] = Counter()

    @contextmanager
    def taken(self, whose: Principal) -> Iterator[None]:
        """Take a place while the block runs. Raises TooMany, Busy."""
        assert whose.organization_id is not None
        again = {"Retry-After": ROOM_S}
        if self._of_one[whose.who] >= self._most_of_one:
            detail = f"you have {self._most_of_one} {self._what} open already, which is all: close one"
            raise TooMany(detail, headers=again)
        left = self._most - self._of_one.total()
        if left <= 0:
            raise Busy(f"too many {self._what} are open: try again later", headers=again)
        if (taken := self._of_organization[whose.organization_id]) >= left:
            raise TooMany(
                f"your organization has {taken} {self._what} open, and no more are left for all others: close one",
                headers=again,
            )
        self._of_one[whose.who] += 1
        self._of_organization[whose.organization_id] += 1
        try:
            yield
        finally:
            self._of_one[whose.who] -= 1
            self._of_organization[whose.organization_id] -= 1
            for counted in (self._of_one, self._of_organization):
                counted += Counter()  # forgets those who have none
