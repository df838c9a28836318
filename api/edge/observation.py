"""Around every request: limits before it, headers on its answer, one log line, the metrics, and a problem document for
errors nobody expected. One layer, as each costs a request some microseconds."""

from __future__ import annotations

import itertools
import re
import secrets
import time
from collections.abc import Mapping
from typing import Any

import structlog
from starlette.requests import ClientDisconnect, HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import metrics
from api.access import attempts
from api.access import guard as access
from api.edge import limits
from api.edge.headers import SecurityHeaders
from api.edge.limits import FREE
from api.edge.logs import AccessLog
from api.http.errors import ErrorAnswer
from api.problems import INTERNAL, ApiError, BadRequest, TooLarge, TooMany
from api.settings import ApiSettings
from api.trace import CURRENT, Trace

log = structlog.get_logger("api")
HOST = re.compile(rb"(?:[A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
MOST_PATH = 200
"""Characters of an address that is none of ours, in the log."""


class HeadBodySkipped(Exception):
    """Raised to stop producing the body of a HEAD request."""


class Observer:
    """ASGI middleware. An answer that breaks off is left unfinished, so that the client sees it."""

    def __init__(
        self,
        app: ASGIApp,
        settings: ApiSettings,
        headers: SecurityHeaders,
        bodies: Mapping[str, int],
        answer: ErrorAnswer,
    ) -> None:
        """`bodies`: most bytes of a body where it is not the setting's. `answer`: what an error becomes."""
        self._answer = answer
        self._app = app
        self._headers = headers
        self._bodies, self._most_body = bodies, settings.api_body_limit
        self._callers = limits.Buckets(settings.api_rate)
        self._addresses = limits.Buckets(settings.api_anonymous_rate)
        self._slow = settings.api_slow
        self._access = AccessLog(settings.api_log_level)
        self._numbers, self._run = itertools.count(1), secrets.token_hex(5)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await Exchange(self, scope, receive, send).run()
        elif scope["type"] == "websocket":
            await self._socket(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Apply the limits to a socket. Only refused handshakes are counted here; feeds count the others."""
        headers, begun = dict(scope["headers"]), time.perf_counter()
        trace = self.trace(headers.get(b"x-request-id"))
        CURRENT.set(trace)
        refused = self.refusal(scope, headers)

        async def noted(message: Message) -> None:
            if message["type"] == "websocket.http.response.start":
                route = getattr(scope.get("route"), "path", "") or "other"
                metrics.answered(route, "GET", f"{message['status'] // 100}xx", time.perf_counter() - begun)
                if self._access.wanted:
                    path = scope["path"][:MOST_PATH]
                    facts = {"path": path, "status": message["status"], "request_id": trace.request_id}
                    self._access.write("socket refused", facts)
            await send(message)

        try:
            await (self._app if refused is None else self.problem(scope, refused))(scope, receive, noted)
        finally:
            self.settle(scope)

    def trace(self, given: bytes | None) -> Trace:
        """Return a trace with the request id that the client sent, or with a new id if that one is not usable."""
        if given is not None and REQUEST_ID.fullmatch(given):
            return Trace(given.decode())
        return Trace(f"{self._run}-{next(self._numbers):x}")

    def refusal(self, scope: Scope, headers: Mapping[bytes, bytes]) -> ApiError | None:
        """Return the problem for which a request is refused before any route sees it, or None."""
        host = headers.get(b"host")
        if not (HOST.fullmatch(host) if host is not None else scope["http_version"] == "1.0"):
            return BadRequest("the Host header is missing or not a host name", headers={"Connection": "close"})
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or len(length) > 18 or int(length) > self.most_body(scope["path"]):
            return too_large(self.most_body(scope["path"]))
        return None if scope["path"] in FREE else self._over_limit(scope)

    def problem(self, scope: Scope, error: ApiError) -> Response:
        """Return the answer to a request that ends with this error."""
        return self._answer(HTTPConnection(scope), error)

    def most_body(self, path: str) -> int:
        if path.startswith("/app/"):  # its second part is an organization
            path = "/".join(["/app/{organization}", *path.split("/")[3:]])
        return self._bodies.get(path, self._most_body)

    def _over_limit(self, scope: Scope) -> ApiError | None:
        """Charge a request to its caller if known already, otherwise to its network; `settle` corrects that."""
        known, now = access.remembered(scope), time.monotonic()
        if known is not None:
            kind, wait = "caller", self._callers.take(known.who, now)
        else:
            scope["charged"] = network = attempts.network(HTTPConnection(scope))
            kind, wait = "anonymous", self._addresses.take(network, now)
        if not wait:
            return None
        metrics.LIMITED.labels(kind).inc()
        seconds = str(int(wait) + 1)
        return TooMany(f"too many requests: wait {seconds} s, then go on slower", headers={"Retry-After": seconds})

    def settle(self, scope: Scope) -> None:
        """Refund the network's bucket and charge the caller's, now that the caller is authenticated."""
        if "charged" in scope and "principal" in scope:
            self._addresses.give_back(scope["charged"])
            self._callers.take(scope["principal"].who, time.monotonic())

    def answer_headers(self, path: str, trace: Trace) -> list[tuple[bytes, bytes]]:
        return [*self._headers.of(path), (b"x-request-id", trace.request_id.encode())]

    def record(self, exchange: Exchange, seconds: float, error: BaseException | None) -> None:
        scope, trace = exchange.scope, exchange.trace
        route = getattr(scope.get("route"), "path", "") or "other"
        result = f"{exchange.status // 100}xx" if exchange.finished else "aborted"
        metrics.answered(route, scope["method"], result, seconds)
        slow = seconds - trace.patience >= self._slow
        if not (slow or error or result == "aborted" or self._access.wanted) or (route in FREE and result == "2xx"):
            return
        path = scope["path"] if route != "other" else scope["path"][:MOST_PATH]
        facts: dict[str, Any] = {"method": scope["method"], "path": path, "route": route, "status": exchange.status}
        facts |= {"milliseconds": round(seconds * 1000, 1), "bytes": exchange.bytes}
        facts["database_ms"] = round(trace.database * 1000, 1)
        principal = scope.get("principal")
        facts["caller"], facts["who"] = ("anonymous", None) if principal is None else (principal.kind, principal.who)
        facts["request_id"] = trace.request_id
        if error is not None:
            log.error("failed", **facts, exc_info=error)
        elif result == "aborted":
            log.warning("aborted", **facts)
        elif slow:
            rest = seconds - trace.waiting - trace.database
            facts |= {"waiting_ms": round(trace.waiting * 1000, 1), "rest_ms": round(rest * 1000, 1)}
            log.warning("slow", **facts)
        else:
            self._access.write("answered", facts)


class Exchange:
    """One request and its answer."""

    __slots__ = (
        "_begun",
        "_observer",
        "_receive",
        "_received",
        "_send",
        "bytes",
        "finished",
        "scope",
        "status",
        "trace",
    )

    def __init__(self, observer: Observer, scope: Scope, receive: Receive, send: Send) -> None:
        self._begun = time.perf_counter()
        self._observer, self._receive, self._send = observer, receive, send
        self.scope = scope
        self.status, self.bytes, self.finished, self._received = 0, 0, False, 0

    async def run(self) -> None:
        observer, scope = self._observer, self.scope
        headers = dict(scope["headers"])
        self.trace = observer.trace(headers.get(b"x-request-id"))
        CURRENT.set(self.trace)
        send = self.send
        if scope["method"] == "HEAD":
            self.scope = scope = {**scope, "method": "GET"}
            send = self.send_head
        receive = self._receive
        if b"content-length" in headers or b"transfer-encoding" in headers:
            receive = self.receive
        error: BaseException | None = None
        try:
            refused = observer.refusal(scope, headers)
            if refused is not None:
                await observer.problem(scope, refused)(scope, receive, send)
            else:
                await observer._app(scope, receive, send)
        except (HeadBodySkipped, ClientDisconnect):
            pass
        except Exception as unexpected:
            if isinstance(unexpected, ExceptionGroup) and unexpected.split(HeadBodySkipped)[1] is None:
                pass
            elif self.status:
                error = unexpected
                raise
            else:
                error = None if isinstance(unexpected, ApiError) else unexpected
                problem = unexpected if isinstance(unexpected, ApiError) else ApiError(INTERNAL)
                await observer.problem(scope, problem)(scope, receive, send)
        finally:
            if "held" in scope:
                scope["held"].close()
            observer.settle(scope)
            observer.record(self, time.perf_counter() - self._begun, error)

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = int(message["status"])
            added = self._observer.answer_headers(self.scope["path"], self.trace)
            message = {**message, "headers": [*message.get("headers", ()), *added]}
        elif message["type"] == "http.response.body":
            self.bytes += len(message.get("body", b""))
            self.finished = not message.get("more_body", False)
        await self._send(message)

    async def send_head(self, message: Message) -> None:
        """Send the head of the answer to GET, and stop the route if it would produce a long body."""
        if message["type"] == "http.response.start":
            await self.send(message)
        elif not self.finished:
            await self.send({"type": "http.response.body", "body": b""})
            if message.get("more_body", False):
                raise HeadBodySkipped

    async def receive(self) -> Message:
        """Receive the body and refuse it once it is too large: chunked bodies have no Content-Length to check."""
        message = await self._receive()
        if message["type"] == "http.request":
            self._received += len(message.get("body", b""))
            most = self._observer.most_body(self.scope["path"])
            if self._received > most:
                raise too_large(most)
        return message


def too_large(most: int) -> TooLarge:
    return TooLarge(f"the body has more than {most} bytes", headers={"Connection": "close"})
