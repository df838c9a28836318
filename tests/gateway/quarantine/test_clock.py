"""How wrong a clock was, from when messages were received."""

from __future__ import annotations

from gateway.quarantine.clock import TimedMessage, groups

DAY_MS = 86_400_000.0


def heard(
    *late: float, boot: int | None = 1, device: str = "r1", begin: int = 0, error: float = DAY_MS
) -> list[TimedMessage]:
    """Messages a second apart of a clock that is slow by `error`, received `late` ms after they were sent."""
    return [
        TimedMessage(begin + n, device, "too-old", boot, n * 1000.0, n * 1000.0 + error + ms)
        for n, ms in enumerate(late)
    ]


def shifts(messages: list[TimedMessage]) -> list[float]:
    by_number = {number: group.shift_ms for group in groups(messages) for number in group.numbers}
    return [by_number[message.number] for message in messages]


def test_the_message_that_was_fastest_says_it_for_all_of_the_boot() -> None:
    assert shifts(heard(700, 30, 20, 5000)) == [DAY_MS + 20] * 4


def test_frames_sent_again_much_later_do_not_count_as_slow_clocks() -> None:
    assert shifts(heard(20, 20, 30 * DAY_MS)) == [DAY_MS + 20] * 3


def test_each_boot_and_device_has_its_own() -> None:
    messages = heard(5, 6) + heard(7, boot=2, begin=10, error=0) + heard(8, device="r2", begin=20, error=3)
    assert shifts(messages) == [DAY_MS + 5, DAY_MS + 5, 7, 11]


def test_without_a_boot_a_jump_is_the_next_one() -> None:
    messages = heard(5, 6, boot=None) + heard(7, 8, boot=None, begin=10, error=2 * DAY_MS)
    assert shifts(messages) == [DAY_MS + 5] * 2 + [2 * DAY_MS + 7] * 2


def test_without_a_boot_a_backlog_is_no_jump() -> None:
    assert shifts(heard(*range(600_000, 0, -1000), boot=None)) == [DAY_MS + 1000] * 600


def test_a_clock_that_is_ahead_is_put_back() -> None:
    assert shifts(heard(5, error=-DAY_MS)) == [5 - DAY_MS]


def test_what_was_decided_holds() -> None:
    first, second, third = heard(500, 20, 10)
    assert shifts([first._replace(shift_ms=DAY_MS + 500), second, third]) == [DAY_MS + 500] * 3
