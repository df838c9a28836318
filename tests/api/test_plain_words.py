"""How numbers and programs are named for people."""

from __future__ import annotations

import pytest

from api.http.plain_words import number, program


@pytest.mark.parametrize(
    ("value", "said"),
    [
        *((0.0, "0"), (4.0, "4"), (37.0123, "37.01"), (12984.13, "12984"), (-0.5, "-0.5")),
        *((0.008825, "0.008825"), (0.0004, "0.0004"), (0.123456, "0.1235"), (1e-7, "1e-07")),
    ],
)
def test_a_number_has_four_digits(value: float, said: str) -> None:
    assert number(value) == said


KIT = "AppleWebKit/537.36 (KHTML, like Gecko)"
PHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)"


@pytest.mark.parametrize(
    ("agent", "said"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox 140 on Linux"),
        (f"Mozilla/5.0 (X11; Linux x86_64) {KIT} Chrome/139.0.0.0 Safari/537.36", "Chrome 139 on Linux"),
        (f"Mozilla/5.0 (Windows NT 10.0) {KIT} Chrome/139.0.0.0 Safari/537.36 Edg/139.0.1.2", "Edge 139 on Windows"),
        (f"Mozilla/5.0 (Linux; Android 10; K) {KIT} Chrome/139.0.0.0 Mobile Safari/537.36", "Chrome 139 on Android"),
        (f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) {KIT} Version/18.1 Safari/605.1.15", "Safari 18 on macOS"),
        (f"{PHONE} Version/18.0 Mobile/15E148 Safari/604.1", "Safari 18 on iPhone"),
        *(("curl/8.5.0", "curl/8.5.0"), ("Firefox/x", "Firefox"), ("x" * 99, "x" * 60), ("", "")),
    ],
)
def test_a_browser_and_its_system_are_named(agent: str, said: str) -> None:
    assert program(agent) == said
