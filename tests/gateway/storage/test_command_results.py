"""How results move commands, and whose they are: pure."""

from __future__ import annotations

import itertools
import uuid
from typing import Any, cast

import msgpack
import pytest

from gateway.intake.admit import Admission
from gateway.intake.registry import Registry
from gateway.items import Device, DeviceCommandResult, Reject
from gateway.storage.command_results import ENDS, Progress, ResultVerdict
from schema.reasons import Reason
from schema.topics import Kind, topic
from tests.gateway.material import NOW_MS, delivery, route, settings

COMMAND = uuid.uuid4()
STATES = ("waiting", "sent", "accepted", "done", "refused", "failed", "expired", "cancelled")
ANSWERS = ("accepted", "done", "refused", "failed")


def answer(status: str, detail: str | None = None, data: str | None = None) -> DeviceCommandResult:
    return DeviceCommandResult(route(1), COMMAND, cast(Any, status), NOW_MS, detail, data, NOW_MS)


def progress(state: str) -> Progress:
    return Progress(state, accepted=state == "accepted")


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("status", ANSWERS)
def test_a_state_moves_forward_only(state: str, status: str) -> None:
    command = progress(state)
    verdict = command.take(answer(status), same=state == status)
    if status == "accepted":
        assert verdict is (ResultVerdict.SAID_BEFORE if state == "accepted" else ResultVerdict.NEW)
        assert command.state == ("accepted" if state in ("waiting", "sent", "cancelled") else state)
    elif state in ENDS:
        assert verdict is (ResultVerdict.SAID_BEFORE if state == status else ResultVerdict.CONTRADICTS)
        assert (command.state, command.end, command.says) == (state, None, None)
    else:
        assert (verdict, command.state) == (ResultVerdict.NEW, status)


@pytest.mark.parametrize("state", ["waiting", "sent", "expired", "cancelled"])
@pytest.mark.parametrize("answers", [*itertools.permutations(ANSWERS, 3)])
def test_the_first_end_stays_whatever_follows(state: str, answers: tuple[str, ...]) -> None:
    command, ends = progress(state), [status for status in answers if status in ENDS]
    verdicts = [command.take(answer(status), same=False) for status in answers]
    assert command.state == ends[0]
    assert command.says is command.end
    assert verdicts.count(ResultVerdict.CONTRADICTS) == len(ends) - 1
    again = [command.take(answer(status), same=False) for status in answers]
    assert ResultVerdict.NEW not in again


def test_an_end_said_twice_in_a_batch_is_the_same_if_its_content_is() -> None:
    command = progress("sent")
    assert command.take(answer("done", "so", '{"a":1.0}'), same=False) is ResultVerdict.NEW
    assert command.take(answer("done", "so", '{"a":1}'), same=False) is ResultVerdict.SAID_BEFORE
    for other in (answer("done", "so"), answer("done", "else", '{"a":1}'), answer("done", "so", '{"a":2}')):
        assert command.take(other, same=False) is ResultVerdict.CONTRADICTS


def test_of_acceptance_the_detail_is_kept_until_the_end() -> None:
    command = progress("sent")
    command.take(answer("accepted", "in a minute"), same=False)
    assert command.says is command.acceptance
    command.take(answer("done"), same=False)
    assert command.says is command.end
    expired = progress("expired")
    expired.take(answer("accepted"), same=False)
    assert expired.says is None  # why it has expired stays


# -- which command


class OneDevice(Registry):
    def __init__(self) -> None:
        self._device = Device(1, "r1")

    def device(self, name: str) -> Device | None:
        return self._device


def admitted(correlation: bytes | None, **said: object) -> object:
    message = delivery(msgpack.packb({"status": "done", "t": NOW_MS, **said}), topic("r1", Kind.COMMAND_RESULT))
    message.correlation = correlation
    [item] = Admission(settings(), OneDevice()).admit(message)
    if isinstance(item, Reject):
        return item.reason
    assert isinstance(item, DeviceCommandResult)
    return item.command_id


def test_a_result_says_of_which_command_it_is_in_one_way_or_both() -> None:
    said, other = str(COMMAND), uuid.uuid4()
    assert admitted(None, id=said) == COMMAND
    assert admitted(COMMAND.bytes) == COMMAND
    assert admitted(COMMAND.bytes, id=said) == COMMAND
    assert admitted(None) is Reason.WRONG_TYPE
    assert admitted(other.bytes, id=said) is Reason.WRONG_SHAPE
    assert admitted(b"", id=said) is Reason.WRONG_SHAPE
    assert admitted(said.encode()) is Reason.WRONG_SHAPE


@pytest.mark.parametrize("t", [float("nan"), float("inf"), -float("inf")])
def test_a_time_that_is_none(t: float) -> None:
    assert admitted(COMMAND.bytes, t=t) is Reason.WRONG_TYPE


@pytest.mark.parametrize("t", [-1e300, 0, NOW_MS + 1e15, 1e300])
def test_a_result_is_taken_whatever_the_clock_says(t: float) -> None:
    assert admitted(COMMAND.bytes, t=t) == COMMAND
