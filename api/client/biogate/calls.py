"""The flows behind the methods of `Client` and `AsyncClient`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from biogate import questions
from biogate.asking import Flow, HttpAsk, Patience, answered, segment
from biogate.infos import AlarmInfo, AnnotationInfo, ChannelInfo, Content, DeviceInfo, EventInfo, NewestValue
from biogate.questions import LatestOptions, Names, TelemetryOptions, When, query, when

if TYPE_CHECKING:
    from biogate.table import TelemetryTable

T = TypeVar("T")
API = "/api/v1"
PAGE = 1000
"""Items of a page of a list: the most that the API gives."""
LONG_QUERY = 4000
"""Characters from which on a question goes into a body: some proxies refuse long addresses."""


def read(path: str, found: Mapping[str, Any], patience: Patience) -> Flow[Any]:
    """Return the JSON at a path below /api/v1."""
    reply = yield from answered(HttpAsk(f"{API}{path}", query(found)), patience)
    return reply.json()


@dataclass(frozen=True)
class Items(Generic[T]):
    """A list of the API: where it is, what its items are called and become, and the parameters."""

    path: str
    name: str
    of: Callable[[Content], T]
    found: Mapping[str, Any]


def pages(items: Items[T], patience_s: float, most: int | None = None) -> Flow[list[T]]:
    """Return the items of a list, page by page, at most so many."""
    found: list[T] = []
    cursor: str | None = None
    while most is None or len(found) < most:
        size = PAGE if most is None else min(PAGE, most - len(found))
        answer = yield from read(items.path, {**items.found, "limit": size, "cursor": cursor}, Patience(patience_s))
        found += [items.of(one) for one in answer[items.name]]
        cursor = answer["next"]
        if cursor is None:
            break
    return found


def devices(found: Mapping[str, Any], patience_s: float) -> Flow[list[DeviceInfo]]:
    return pages(Items("/devices", "devices", DeviceInfo.of, found), patience_s)


def channels(device: str, patience_s: float) -> Flow[list[ChannelInfo]]:
    answer = yield from read(f"/devices/{segment(device)}/channels", {}, Patience(patience_s))
    return [ChannelInfo.of(one) for one in answer["channels"]]


def events(device: str, found: Mapping[str, Any], most: int | None, patience_s: float) -> Flow[list[EventInfo]]:
    return pages(Items(f"/devices/{segment(device)}/events", "events", EventInfo.of, found), patience_s, most)


def notes(device: str, found: Mapping[str, Any], patience_s: float) -> Flow[list[AnnotationInfo]]:
    path = f"/devices/{segment(device)}/annotations"
    return pages(Items(path, "annotations", AnnotationInfo.of, found), patience_s)


def annotate(device: str, text: str, begins: When, ends: When | None, patience_s: float) -> Flow[AnnotationInfo]:
    body = {"text": text, "begins": when("begins", begins), "ends": when("ends", ends)}
    said = {name: value for name, value in body.items() if value is not None}
    ask = HttpAsk(f"{API}/devices/{segment(device)}/annotations", method="POST", body=said, is_read=False)
    reply = yield from answered(ask, Patience(patience_s))
    return AnnotationInfo.of(reply.json())


def alarms(found: Mapping[str, Any], patience_s: float) -> Flow[list[AlarmInfo]]:
    return pages(Items("/alarms", "alarms", AlarmInfo.of, found), patience_s)


def _telemetry(found: Mapping[str, Any], patience_s: float) -> Flow[Any]:
    asked = query(found)
    ask = HttpAsk(f"{API}/telemetry", asked)
    if len(ask.target) > LONG_QUERY:
        ask = HttpAsk(f"{API}/telemetry", method="POST", body=found)
    reply = yield from answered(ask, Patience(patience_s))
    return reply.json()


def latest(
    devices: Names | None, channels: Names | None, options: LatestOptions, patience_s: float
) -> Flow[list[NewestValue]]:
    given = {"quality": "all"} | questions.checked(options, LatestOptions)
    found = questions.parameters(devices, channels, given) | {"mode": "latest"}
    answer = yield from _telemetry(found, patience_s)
    return [NewestValue.of(one) for one in answer["latest"]]


def telemetry(
    devices: Names | None, channels: Names | None, options: TelemetryOptions, patience_s: float
) -> Flow[TelemetryTable]:
    """Samples come as one Arrow stream, everything else as JSON."""
    from biogate import table  # noqa: PLC0415  # pyarrow takes 0.1 s

    given = {"corrections": "applied"} | questions.checked(options, TelemetryOptions)
    mode = given.pop("mode", None) or _meant(given)
    found = questions.parameters(devices, channels, given)
    of_one_device = questions.is_one_device(devices)
    if mode == "raw":
        return (yield from _stream(found, of_one_device, patience_s))
    answer = yield from _telemetry(found | {"mode": mode}, patience_s)
    if mode == "plot":
        return table.from_series(answer, of_one_device=of_one_device)
    return table.from_rows(answer, of_one_device=of_one_device, one_aggregate=isinstance(given.get("aggregate"), str))


def _meant(given: Mapping[str, Any]) -> str:
    """Return the mode of a question that does not name one."""
    if "at" in given:
        return "at"
    return "buckets" if given.keys() & {"bucket", "max_points", "aggregate"} else "raw"


def _stream(found: Mapping[str, Any], of_one_device: bool, patience_s: float) -> Flow[TelemetryTable]:
    from biogate.arrow_body import ArrowBody  # noqa: PLC0415  # pyarrow takes 0.1 s
    from biogate.table import from_stream  # noqa: PLC0415

    body = ArrowBody()
    yield from answered(HttpAsk(f"{API}/telemetry.arrow", query(found), sink=body), Patience(patience_s))
    return from_stream(body.table, body.facts, of_one_device=of_one_device)
