"""What the client asks, and what becomes of the answers, without input or output.

A flow is a generator that yields what it needs, a request or a pause, and is sent what came of it. The transports of
`Client` and `AsyncClient` run the same flows; there is no logic beside them.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, TypeVar
from urllib.parse import quote, urlencode

from biogate.errors import ClientError

T = TypeVar("T")
Query: TypeAlias = tuple[tuple[str, str], ...]

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 8.0
PASSING = frozenset({429, 502, 503})
"""Statuses after which the same request may succeed; 502 is a proxy's."""
BUSY = "urn:biogate:problem:busy"
"""The problem of a request that was turned away before anything was done."""


class CutShort(Exception):
    """The content of an answer has ended before its end."""


class BodySink(Protocol):
    """Takes the content of a large answer piece by piece."""

    @property
    def kept(self) -> int:
        """Bytes that a further attempt need not fetch again."""

    def headers(self) -> dict[str, str]:
        """Return what to add to the headers of the next attempt."""

    def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """Begin the content of an answer; what an attempt before has left is dropped, unless this one goes on there."""

    def write(self, content: bytes) -> None: ...

    def end(self) -> None:
        """Raise CutShort unless the content is whole."""


@dataclass(frozen=True)
class HttpAsk:
    """A request. One that only reads can be sent again whatever happened to it."""

    path: str
    query: Query = ()
    method: str = "GET"
    body: Mapping[str, Any] | None = None
    is_read: bool = True
    sink: BodySink | None = None

    @property
    def target(self) -> str:
        return f"{self.path}?{urlencode(self.query, quote_via=quote)}" if self.query else self.path

    def headers(self) -> dict[str, str]:
        if self.sink is not None:
            return {"Accept": "*/*", "Accept-Encoding": "identity", **self.sink.headers()}
        kind = {} if self.body is None else {"Content-Type": "application/json"}
        return {"Accept": "application/json", **kind}

    def content(self) -> bytes | None:
        return None if self.body is None else json.dumps(self.body).encode()


@dataclass(frozen=True)
class HttpReply:
    """An answer, of whatever status; the names of its headers are in small letters."""

    status: int
    headers: Mapping[str, str]
    content: bytes = b""

    def json(self) -> Any:
        """Return the content. Raises ClientError for what is no JSON."""
        try:
            return json.loads(self.content)
        except ValueError:
            raise ClientError(
                "the answer is no JSON: is this the address of Biogate's API?", status=self.status
            ) from None

    def problem(self) -> dict[str, Any]:
        """Return the problem document, or nothing."""
        try:
            found = json.loads(self.content)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}


@dataclass(frozen=True)
class LostReply:
    """No answer, or one that broke off."""

    cause: Exception
    was_sent: bool = True
    is_final: bool = False
    """True: it would be the same again, as with a certificate that is not trusted."""


@dataclass(frozen=True)
class Pause:
    seconds: float


@dataclass(frozen=True)
class Work:
    """Something of our own that takes long, such as hashing a file."""

    do: Callable[[], None]


Step: TypeAlias = HttpAsk | Pause | Work
Flow: TypeAlias = Generator[Step, HttpReply | LostReply | None, T]


@dataclass
class Patience:
    """How long something may be tried again, in seconds; it begins anew with `renew`."""

    seconds: float
    clock: Callable[[], float] = time.monotonic
    _until: float = field(init=False)
    _pause: float = field(init=False)

    def __post_init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        self._until, self._pause = self.clock() + self.seconds, FIRST_PAUSE_S

    def pause(self, asked: float | None) -> float | None:
        """Return how long to wait, as the server asks or longer each time; None if that would be too long."""
        pause = self._pause * random.uniform(0.5, 1) if asked is None else asked  # noqa: S311  # spreads clients
        self._pause = min(2 * self._pause, LONGEST_PAUSE_S)
        return None if self.clock() + pause > self._until else pause


def answered(ask: HttpAsk, patience: Patience) -> Flow[HttpReply]:
    """Ask until there is an answer that is no error. Raises ClientError."""
    kept = 0 if ask.sink is None else ask.sink.kept
    while True:
        reply = yield ask
        assert reply is not None
        if isinstance(reply, HttpReply) and reply.status < 300:
            return reply
        if ask.sink is not None and ask.sink.kept > kept:
            kept = ask.sink.kept
            patience.renew()
        pause = patience.pause(retry_after(reply)) if _may_pass(ask, reply) else None
        if pause is None:
            raise failure(reply) from (reply.cause if isinstance(reply, LostReply) else None)
        yield Pause(pause)


def _may_pass(ask: HttpAsk, reply: HttpReply | LostReply) -> bool:
    if isinstance(reply, LostReply):
        return not reply.is_final and (ask.is_read or not reply.was_sent)
    if ask.is_read:
        return reply.status in PASSING
    return reply.status == 429 or (reply.status == 503 and reply.problem().get("type") == BUSY)


def retry_after(reply: HttpReply | LostReply) -> float | None:
    """Return the seconds of Retry-After, which Biogate gives as a number."""
    said = "" if isinstance(reply, LostReply) else reply.headers.get("retry-after", "")
    return float(said) if said.isascii() and said.isdigit() else None


def failure(reply: HttpReply | LostReply) -> ClientError:
    """Return the error that a request ended with."""
    if isinstance(reply, LostReply):
        what = "no answer" if not isinstance(reply.cause, CutShort) else "the answer broke off"
        return ClientError(f"{what}: {reply.cause or type(reply.cause).__name__}")
    if 300 <= reply.status < 400:
        where = reply.headers.get("location", "another address")
        detail = f"the address leads on to {where}; the key is not sent there: give that address as url if it is right"
        return ClientError(detail, status=reply.status)
    problem = reply.problem()
    detail = problem.get("detail") or "an error without a word on it: is this the address of Biogate's API?"
    return ClientError(str(detail), status=reply.status, problem=problem)


def segment(name: str) -> str:
    """Return a name as a part of a path."""
    return quote(name, safe="")
