"""A board tells each client the newest state, whatever it has missed, and counts what it has passed over."""

from __future__ import annotations

import asyncio
import json
import time
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.live import board as module
from api.live import boards
from api.live.board import Board, Slot, Wants
from api.live.boards import BoardFeed, BoardMember
from api.live.forms import SocketForm


class NumberSlot(Slot):
    """A device with a number."""

    def __init__(self, device: str) -> None:
        super().__init__()
        self.device, self.value = device, 0

    def fields(self, channels: frozenset[str], after: int) -> bytes:
        return b'"device":"%b","value":%d' % (self.device.encode(), self.value)


class Client:
    """One who reads the board now and then."""

    def __init__(self, wants: Wants) -> None:
        self.wants, self.position, self.known = wants, -1, dict[str, int]()
        self.updates = 0

    def read(self, board: Board) -> bool:
        whole = self.position < 0
        part = board.read(self.position, self.wants, whole=whole)
        told: list[dict[str, Any]] = json.loads(b"[" + part.devices + b"]")
        assert len(told) == part.count == len({one["device"] for one in told})
        for one in told:
            self.known[one["device"]] = one["value"]
            self.updates += 0 if whole else 1 + one.get("skipped", 0)
        self.position = part.position
        return part.is_all


DEVICES = "abc"
PUT = st.tuples(st.just("put"), st.sampled_from(DEVICES), st.integers(1, 3))
READ = st.tuples(st.just("read"), st.sampled_from([0, 1]), st.just(0))


@given(st.lists(PUT | READ, max_size=60), st.sampled_from([0, 20, 10_000]))
def test_the_latest_wins_and_every_update_is_told_or_counted(
    steps: list[tuple[str, Any, int]], most_bytes: int
) -> None:
    """Of two clients, one with a filter, that read at any moments, in messages of any size. In several messages it is
    counted at least."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MOST_BYTES", most_bytes)
        board, slots = Board(), {name: NumberSlot(name) for name in DEVICES}
        clients = [Client(Wants()), Client(Wants(frozenset("ab")))]
        for slot in slots.values():
            board.put(slot.device, slot)
        for client in clients:
            while not client.read(board):
                client.position = max(client.position, 0)
            client.updates = 0
        updates = dict.fromkeys(DEVICES, 0)
        for kind, which, count in steps:
            if kind == "put":
                slots[which].value += count
                updates[which] += count
                board.put(which, slots[which], count)
            else:
                clients[which].read(board)
        for client in clients:
            while not client.read(board):
                pass
            wanted = client.wants.devices or frozenset(DEVICES)
            assert client.known == {name: slots[name].value for name in sorted(wanted)}
            told = sum(updates[name] for name in wanted)
            assert client.updates <= told if most_bytes < 10_000 else client.updates == told
            assert board.read(client.position, client.wants).count == 0


def test_what_many_want_is_encoded_once() -> None:
    board, slot = Board(), NumberSlot("a")
    board.put("a", slot)
    first = board.read(-1, Wants(), whole=True)
    assert board.read(-1, Wants(), whole=True) is first
    board.put("a", slot)
    assert board.read(-1, Wants(), whole=True) is not first


def test_long_ago_is_counted_at_least(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slot keeps so many of its changes and no more."""
    monkeypatch.setattr(module, "REMEMBERED", 4)
    board, slot = Board(), NumberSlot("a")
    board.put("a", slot)
    for _ in range(100):
        board.put("a", slot)
    assert 4 <= slot.skipped(1) < 100
    assert slot.skipped(board.version - 3) == 2
    assert len(slot._changes) <= 9


class News(BoardFeed):
    """Has news of a device at each look."""

    KINDS = frozenset({"frame"})

    async def look_at_all(self) -> None:
        pass

    async def look_for_news(self) -> None:
        self.board.put("r1", NumberSlot("r1"))


async def test_the_delay_of_news_counts_from_the_first_commit_that_was_not_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    observed: list[float] = []
    monkeypatch.setattr(boards, "LIVE_DELAY", SimpleNamespace(observe=observed.append))
    monkeypatch.setattr(time, "time", lambda: 1000.0)
    feed = News(None, asyncio.Semaphore(1), lambda: None)
    for at_s, kind in ((990.0, "status"), (991.0, "frame"), (999.0, "frame")):
        feed.hear(json.dumps({"at": at_s * 1000, "kinds": [kind]}))
    await feed._look([])
    await feed._look([])  # which nobody has notified
    feed.hear(json.dumps({"at": 998_000.0, "kinds": ["frame"]}))
    await feed._look([])
    assert observed == [9.0, 2.0]


class Watched(BoardMember):
    """Notes how often it is looked at."""

    looks = 0
    _idle = False

    @property
    def is_idle(self) -> bool:
        self.looks += 1
        return self._idle

    @is_idle.setter
    def is_idle(self, now: bool) -> None:
        self._idle = now


async def test_a_look_wakes_who_watches_what_has_changed_and_goes_through_nobody_else() -> None:
    feed = News(None, asyncio.Semaphore(1), lambda: None)
    one, everything, other = (Watched(Wants(frozenset(names)), 10) for names in (["r1", "r3"], [], ["r2"]))
    form = SocketForm()
    for member in (one, everything, other):
        feed.join(member)
        await feed._look([member])
        assert b"snapshot" in (member.take(form) or b"")
        while member.take(form) is not None:
            pass
    for member in (one, everything, other):
        member.wake.clear()
        member.due_at = member.looks = 0
        member.is_idle = True
    await feed._look([])
    assert [member.wake._is_set for member in (one, everything, other)] == [True, True, False]
    assert (one.looks, everything.looks, other.looks) == (1, 1, 0)
    for member in (one, everything, other):
        feed.leave(member)
    assert not feed._watching
    assert not feed._wanted
