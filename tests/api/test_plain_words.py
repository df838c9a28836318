"""How numbers are written for people."""

from __future__ import annotations

import pytest

from api.http.plain_words import number


@pytest.mark.parametrize(
    ("value", "said"),
    [
        *((0.0, "0"), (4.0, "4"), (37.0123, "37.01"), (12984.13, "12984"), (-0.5, "-0.5")),
        *((0.008825, "0.008825"), (0.0004, "0.0004"), (0.123456, "0.1235"), (1e-7, "1e-07")),
    ],
)
def test_a_number_has_four_digits(value: float, said: str) -> None:
    assert number(value) == said
