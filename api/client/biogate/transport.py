"""Run flows over HTTP: one transport that waits, and one that is awaited. Redirects are never followed."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Iterator
from typing import TypedDict, TypeVar
from urllib.parse import urlsplit

import httpx2

from biogate.asking import CutShort, Flow, HttpAsk, HttpReply, LostReply, Pause, Step, Work
from biogate.errors import ClientError
from biogate.login import ApiLogin

T = TypeVar("T")
AGENT = {"User-Agent": "biogate-python"}
UNSENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.ProxyError)


def tls(login: ApiLogin) -> ssl.SSLContext:
    """Return how servers are verified: if the login has a file, by its authorities alone. Raises ClientError."""
    if login.ca_file is None and urlsplit(login.url).scheme == "http":
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # trusts nobody; to read all authorities takes 20 ms
    if login.ca_file is None:
        return httpx2.create_ssl_context()
    try:
        return ssl.create_default_context(cafile=login.ca_file)
    except OSError as error:
        raise ClientError(f"ca_file: {login.ca_file} is no file with certificates in PEM: {error}") from error


class Sending(TypedDict):
    """The arguments of a request, for either client of httpx2."""

    method: str
    url: str
    headers: dict[str, str]
    content: bytes | None


def _arguments(login: ApiLogin, ask: HttpAsk) -> Sending:
    headers = login.authorization() | ask.headers()
    return {"method": ask.method, "url": login.url + ask.target, "headers": headers, "content": ask.content()}


def _reply(answer: httpx2.Response, content: bytes = b"") -> HttpReply:
    return HttpReply(answer.status_code, dict(answer.headers), content)


def _lost(error: Exception) -> LostReply:
    """What another attempt cannot change are names that nobody knows and certificates that are not trusted."""
    is_final = isinstance(error, httpx2.ConnectError) and any(
        isinstance(one, ssl.SSLError | socket.gaierror) for one in _causes(error)
    )
    return LostReply(error, was_sent=not isinstance(error, UNSENT), is_final=is_final)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


class Transport:
    """For `Client`."""

    def __init__(self, login: ApiLogin, timeout_s: float) -> None:
        self._login = login
        self._http = httpx2.Client(verify=tls(login), timeout=timeout_s, headers=AGENT)

    def run(self, flow: Flow[T]) -> T:
        reply: HttpReply | LostReply | None = None
        while True:
            try:
                step = flow.send(reply)
            except StopIteration as end:
                result: T = end.value
                return result
            reply = self._done(step)

    def _done(self, step: Step) -> HttpReply | LostReply | None:
        if isinstance(step, HttpAsk):
            return self._ask(step)
        if isinstance(step, Pause):
            time.sleep(step.seconds)
        elif isinstance(step, Work):
            step.do()
        return None

    def _ask(self, ask: HttpAsk) -> HttpReply | LostReply:
        try:
            with self._http.stream(**_arguments(self._login, ask)) as answer:
                if ask.sink is None or not answer.is_success:
                    return _reply(answer, answer.read())
                ask.sink.begin(answer.status_code, answer.headers)
                for part in answer.iter_bytes():
                    ask.sink.write(part)
                ask.sink.end()
                return _reply(answer)
        except (httpx2.HTTPError, CutShort) as error:
            return _lost(error)

    def close(self) -> None:
        self._http.close()


class AsyncTransport:
    """For `AsyncClient`."""

    def __init__(self, login: ApiLogin, timeout_s: float) -> None:
        self._login = login
        self._http = httpx2.AsyncClient(verify=tls(login), timeout=timeout_s, headers=AGENT)

    async def run(self, flow: Flow[T]) -> T:
        reply: HttpReply | LostReply | None = None
        while True:
            try:
                step = flow.send(reply)
            except StopIteration as end:
                result: T = end.value
                return result
            reply = await self._done(step)

    async def _done(self, step: Step) -> HttpReply | LostReply | None:
        if isinstance(step, HttpAsk):
            return await self._ask(step)
        if isinstance(step, Pause):
            await asyncio.sleep(step.seconds)
        elif isinstance(step, Work):
            await asyncio.to_thread(step.do)
        return None

    async def _ask(self, ask: HttpAsk) -> HttpReply | LostReply:
        try:
            async with self._http.stream(**_arguments(self._login, ask)) as answer:
                if ask.sink is None or not answer.is_success:
                    return _reply(answer, await answer.aread())
                ask.sink.begin(answer.status_code, answer.headers)
                async for part in answer.aiter_bytes():
                    ask.sink.write(part)
                ask.sink.end()
                return _reply(answer)
        except (httpx2.HTTPError, CutShort) as error:
            return _lost(error)

    async def close(self) -> None:
        await self._http.aclose()
