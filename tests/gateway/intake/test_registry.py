"""Channels and layouts in a real database: what a set of channels maps to never changes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable

import asyncpg
import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.errors import Rejected
from gateway.intake.admit import Admission
from gateway.intake.registry import CACHED_MAPPINGS, EXACT_LAYOUTS, Registry
from gateway.items import Channels, Device, Reject, SlotMapping
from gateway.pipeline import DECODED_AT_ONCE
from gateway.runtime.database import Pool
from schema.reasons import Reason
from tests.gateway import material
from tests.in_turn import in_turn
from tests.roles import forced

NAMES = [f"c{i}" for i in range(12)]

with_database = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
subsets = st.lists(st.sampled_from(NAMES), min_size=1, unique=True).map(tuple)


async def loaded(pool: Pool, max_channels: int = 256, max_layouts: int = 64) -> Registry:
    registry = Registry(pool, max_channels, max_layouts)
    await registry.load()
    return registry


def device(registry: Registry, name: str = "r1") -> Device:
    found = registry.device(name)
    assert found is not None
    return found


async def answer(registry: Registry, channels: Iterable[str], name: str = "r1") -> SlotMapping | Rejected:
    known, wanted = device(registry, name), tuple(channels)
    await registry.map([(known, wanted)])
    return known.mappings[wanted]


async def mapped(registry: Registry, channels: Iterable[str], name: str = "r1") -> SlotMapping:
    mapping = await answer(registry, channels, name)
    assert isinstance(mapping, SlotMapping), mapping
    return mapping


async def reason(registry: Registry, channels: Iterable[str], name: str = "r1") -> Reason:
    rejected = await answer(registry, channels, name)
    assert isinstance(rejected, Rejected), rejected
    return rejected.reason


def place(mapping: SlotMapping) -> tuple[int, int, list[int]]:
    return mapping.layout_id, mapping.width, mapping.slots.tolist()


async def layout(pool: Pool, layout_id: int) -> list[str]:
    """The channels of a layout, as the database has them for readers."""
    return [
        row["name"]
        for row in await pool.fetch(
            "select name from layout_channels join channels using (channel_id) where layout_id = $1 order by ordinal",
            layout_id,
        )
    ]


async def used_layouts(pool: Pool, name: str = "r1") -> list[list[str]]:
    rows = await pool.fetch(
        "select layout_id from device_layouts join devices using (device_id) where name = $1 order by position", name
    )
    return [await layout(pool, row["layout_id"]) for row in rows]


async def test_slots_lead_each_channel_to_its_place_in_the_layout(pool: Pool, registry: Registry) -> None:
    for channels in (("ph", "agitation", "new b", "new a"), ("new a", "ph")):
        mapping = await mapped(registry, channels)
        names = await layout(pool, mapping.layout_id)
        assert [names[slot] for slot in mapping.slots] == list(channels)
        assert mapping.width == len(names) == 4


@with_database
@given(sequence=st.lists(subsets, min_size=1, max_size=30), restarts=st.sets(st.integers(0, 29)))
async def test_the_mapping_of_a_set_of_channels_never_changes(
    pool: Pool, database: asyncpg.Connection, sequence: list[Channels], restarts: set[int]
) -> None:
    await forced(database, "truncate device_layouts")
    first: dict[Channels, tuple[int, int, list[int]]] = {}
    registry = await loaded(pool)
    for n, channels in enumerate(sequence):
        if n in restarts:
            registry = await loaded(pool)
        mapping = await mapped(registry, channels)
        names = await layout(pool, mapping.layout_id)
        assert [names[slot] for slot in mapping.slots] == list(channels)
        assert place(mapping) == first.setdefault(channels, place(mapping))
    for fresh in (registry, await loaded(pool)):
        device(fresh).mappings.clear()
        for channels in reversed(sequence):
            assert place(await mapped(fresh, channels)) == first[channels]
    assert [sorted(names) for names in await used_layouts(pool)] == expected_layouts(sequence)


def expected_layouts(sequence: list[Channels]) -> list[list[str]]:
    """The rule in plain words: the first that has them all; else one of its own; after EXACT_LAYOUTS, of all ever."""
    layouts: list[set[str]] = []
    for channels in sequence:
        if not any(known.issuperset(channels) for known in layouts):
            wide = set().union(*layouts) if len(layouts) >= EXACT_LAYOUTS else set()
            layouts.append(wide.union(channels))
    return [sorted(known) for known in layouts]


async def test_random_subsets_of_many_channels_end_in_a_few_wide_layouts(pool: Pool, registry: Registry) -> None:
    chance = random.Random(1)
    names = [f"c{i}" for i in range(100)]
    for _ in range(500):
        await mapped(registry, chance.sample(names, 50))
    assert len(await used_layouts(pool)) <= EXACT_LAYOUTS + 5


@in_turn(
    ("channels", "expected"),
    [
        ([], Reason.EMPTY),
        ([""], Reason.BAD_CHANNEL),
        (["x" * 65], Reason.BAD_CHANNEL),
        (["a\0b"], Reason.BAD_CHANNEL),
        (["a\nb"], Reason.BAD_CHANNEL),
        (["a\x85b"], Reason.BAD_CHANNEL),
        (["a\ud800"], Reason.BAD_CHANNEL),
        (["ph "], Reason.BAD_CHANNEL),
        ([" ph"], Reason.BAD_CHANNEL),
        ([" "], Reason.BAD_CHANNEL),
        (["ph\u00a0"], Reason.BAD_CHANNEL),
        (["ph\u200b"], Reason.BAD_CHANNEL),
        (["p\u00adh"], Reason.BAD_CHANNEL),
        (["\ufeffph"], Reason.BAD_CHANNEL),
        (["p\u2028h"], Reason.BAD_CHANNEL),
        (["Tempe\u0301rature"], Reason.BAD_CHANNEL),
        (["\u212bngstrom"], Reason.BAD_CHANNEL),  # the sign of the unit, which NFC makes the letter
        (["ph", "foam", "ph"], Reason.BAD_CHANNEL),
        ([f"c{i}" for i in range(257)], Reason.TOO_MANY_CHANNELS),
    ],
)
async def test_channels_that_cannot_be_are_rejected_and_not_stored(
    pool: Pool, registry: Registry, channels: list[str], expected: Reason
) -> None:
    before = await pool.fetchval("select count(*) from channels")
    assert await reason(registry, channels) is expected
    assert await pool.fetchval("select count(*) from channels") == before
    assert await used_layouts(pool) == []


async def test_names_of_any_script_up_to_the_bound_are_accepted(registry: Registry) -> None:
    for name in ("x" * 64, "pH-Wert µ", "温度", "🧫" * 64, "a b", "Temp\u00e9rature", "a'b\"c\\"):
        assert (await mapped(registry, [name])).channels == (name,)


async def test_channels_over_the_bound_of_a_device_are_rejected_and_what_it_has_goes_on(pool: Pool) -> None:
    registry = await loaded(pool, max_channels=4)
    mapping = await mapped(registry, ["a", "b", "c"])
    assert await reason(registry, ["d", "e"]) is Reason.TOO_MANY_CHANNELS
    assert await reason(registry, ["a", "b", "c", "d", "e"]) is Reason.TOO_MANY_CHANNELS
    assert place(await mapped(registry, ["a", "b", "c"])) == place(mapping)
    assert (await mapped(registry, ["d"])).width == 1
    assert (await mapped(registry, ["d", "e"], "r2")).width == 2


async def test_layouts_over_the_bound_of_a_device_are_rejected_and_what_it_has_goes_on(pool: Pool) -> None:
    registry = await loaded(pool, max_layouts=2)
    assert (await mapped(registry, ["a", "b"])).width == 2
    assert (await mapped(registry, ["c"])).width == 1
    assert await reason(registry, ["d"]) is Reason.TOO_MANY_LAYOUTS
    assert (await mapped(registry, ["b"])).width == 2
    assert (await mapped(registry, ["d"], "r2")).width == 1


async def test_a_rejection_is_remembered_without_asking_again(pool: Pool) -> None:
    registry = await loaded(pool, max_layouts=1)
    await mapped(registry, ["a"])
    assert await answer(registry, ["b"]) is await answer(registry, ["b"])
    assert await answer(registry, [""]) is await answer(registry, [""])


async def test_exact_layouts_are_of_these_channels_alone_and_do_not_change_where_frames_go(
    pool: Pool, registry: Registry
) -> None:
    whole = await mapped(registry, ["a", "b", "c"])
    wanted = (device(registry), ("b", "a"))
    exact = (await registry.exact([wanted]))[wanted]
    assert isinstance(exact, SlotMapping)
    assert sorted(await layout(pool, exact.layout_id)) == ["a", "b"]
    other = await loaded(pool)
    again = (await other.exact([(device(other), ("b", "a"))]))[device(other), ("b", "a")]
    assert isinstance(again, SlotMapping)
    assert place(again) == place(exact)
    assert (await mapped(other, ["b", "a"])).layout_id == whole.layout_id


@pytest.mark.parametrize("known", [True, False], ids=["known channels", "new channels"])
async def test_two_gateways_that_meet_the_same_devices_at_once_agree(pool: Pool, known: bool) -> None:
    registries = [await loaded(pool) for _ in "ab"]
    for step in range(10):
        sets = [(f"s{step}", f"x{i}") for i in range(6)]
        for registry in registries if known else []:
            for name in {name for channels in sets for name in channels}:
                await mapped(registry, [name], f"r{3 + step}")
        wanted: list[tuple[str, Channels]] = [(name, channels) for name in ("r1", "r2") for channels in sets]

        async def meet(registry: Registry, wanted: list[tuple[str, Channels]]) -> None:
            while True:
                try:
                    await registry.map([(device(registry, name), channels) for name, channels in wanted])
                    return
                except asyncpg.DeadlockDetectedError:  # tried again, as the pipeline does
                    pass

        async with asyncio.timeout(20):
            await asyncio.gather(meet(registries[0], wanted), meet(registries[1], wanted[::-1]))
        for name, channels in wanted:
            places = [place(await mapped(registry, channels, name)) for registry in registries]
            assert places[0] == places[1]


DIE_AT_COMMIT = """
create function die() returns trigger language plpgsql as $$
begin perform pg_terminate_backend(pg_backend_pid()); return null; end $$;
create constraint trigger die after insert on device_layouts deferrable initially deferred
    for each row execute function die()"""


async def test_what_was_rolled_back_is_not_remembered(pool: Pool, database: asyncpg.Connection) -> None:
    registry = await loaded(pool)
    await mapped(registry, ["ph"])
    next_layout = await database.fetchval("select max(layout_id) + 1 from layouts")
    await database.execute(DIE_AT_COMMIT)
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        await mapped(registry, ["a", "b"])
    await database.execute("drop trigger die on device_layouts")
    # A server that crashed may give the same ids again, to others.
    await database.execute(f"alter table layouts alter layout_id restart {next_layout}")
    await database.execute("alter table channels alter channel_id restart 1000")
    for channels in (["0", "a", "b"], ["a", "b"]):
        mapping = await mapped(registry, channels)
        names = await layout(pool, mapping.layout_id)
        assert names == ["0", "a", "b"]
        assert [names[slot] for slot in mapping.slots] == channels
        assert mapping.width == len(names)


async def test_a_layout_that_was_rolled_back_is_not_used(pool: Pool, database: asyncpg.Connection) -> None:
    registry = await loaded(pool)
    for name in ("a", "b"):
        await mapped(registry, [name], "r2")
    await database.execute(DIE_AT_COMMIT)
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        await mapped(registry, ["a", "b"])
    await database.execute("drop trigger die on device_layouts")
    assert await layout(pool, (await mapped(registry, ["a", "b"])).layout_id) == ["a", "b"]


async def test_more_sets_of_channels_than_are_cached_are_all_mapped_in_a_few_rounds(registry: Registry) -> None:
    names = [f"c{i}" for i in range(DECODED_AT_ONCE)]
    await mapped(registry, names)
    known = device(registry)
    turned = [tuple(names[i:] + names[:i]) for i in range(DECODED_AT_ONCE)]
    backwards = [channels[::-1] for channels in turned]
    for together in (
        turned,
        backwards,
        turned[::2] + backwards[::2],
        backwards[1:],
        [channels[1:] for channels in turned],
    ):
        rounds = 0
        while missing := [channels for channels in together if channels not in known.mappings]:
            await registry.map((known, channels) for channels in missing)
            rounds += 1
        assert rounds <= 2
        assert all(isinstance(known.mappings[channels], SlotMapping) for channels in together)
        assert len(known.mappings) <= CACHED_MAPPINGS


async def test_a_device_registered_later_is_found(pool: Pool, registry: Registry) -> None:
    assert registry.device("late") is None
    await pool.execute("insert into devices (name) values ('late')")
    await registry.find(["late", "never", "no such name!", "a\0b", ""])
    assert device(registry, "late").name == "late"
    assert registry.device("never") is None
    assert (await mapped(registry, ["ph"], "late")).width == 1


async def test_a_rejection_that_is_kept_keeps_nothing_of_the_messages_it_was_raised_for(registry: Registry) -> None:
    """An exception holds the frames it was raised in, and they the message: raised again and again it holds all."""
    admission = Admission(material.settings(), registry)
    too_many = {"t": material.NOW_MS, "v": {f"c{n}": 1.0 for n in range(257)}}
    for _ in range(3):
        (item,) = await material.admit(admission, registry, material.delivery(msgpack.packb(too_many)))
        assert isinstance(item, Reject)
    (kept,) = device(registry).mappings.values()
    assert isinstance(kept, Rejected)
    assert (kept.__traceback__, kept.__context__, kept.__cause__) == (None, None, None)
