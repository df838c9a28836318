"""What messages are sent to: real servers, on loopback, that can be told to misbehave."""

from __future__ import annotations

import email
import email.policy
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from typing import Any

from aiosmtpd.controller import Controller

from deploy.stack.ports import any_free


@dataclass(frozen=True)
class Received:
    title: str
    text: str
    tone: str
    at: float


@dataclass
class Webhook:
    """An HTTP server. `status` is what it answers with, `hangs_s` how long it takes, `packed` the body of the answer
    (gzip); with `trickles` the answer never ends."""

    status: int = 200
    hangs_s: float = 0.0
    packed: bytes = b""
    trickles: bool = False
    waiting: int = 0
    """Requests that hang just now, as far as this server knows."""
    broken: int = 0
    """Answers without an end that the other side has broken off."""
    received: list[Received] = field(default_factory=list)
    """What it has taken."""
    refused: int = 0
    port: int = 0
    _ended: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"json://127.0.0.1:{self.port}/hook/s3cret-token"

    @property
    def titles(self) -> list[str]:
        return [one.title for one in self.received]

    @property
    def texts(self) -> str:
        return "\n".join(f"{one.title}\n{one.text}" for one in self.received)

    def answer(self, file: BufferedIOBase) -> None:
        file.write(self.packed)
        try:
            while self.trickles and not self._ended.wait(0.02):
                file.write(b"1\r\nx\r\n")
                file.flush()
        except OSError:
            self.broken += 1

    def take(self, body: dict[str, Any]) -> int:
        self.waiting += 1
        self._ended.wait(self.hangs_s)
        self.waiting -= 1
        if self.status < 300:
            self.received.append(Received(body["title"], body["message"], body["type"], time.monotonic()))
        else:
            self.refused += 1
        return self.status


@contextmanager
def webhook(**settings: Any) -> Iterator[Webhook]:
    hook = Webhook(**settings)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            status = hook.take(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status)
            if hook.packed:
                self.send_header("Content-Encoding", "gzip")
                self.send_header("Content-Length", str(len(hook.packed)))
            if hook.trickles:
                self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            hook.answer(self.wfile)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """The other side has gone: it was killed, or has waited long enough."""

    with Server(("127.0.0.1", 0), Handler) as server:
        hook.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield hook
        finally:
            hook._ended.set()
            server.shutdown()
            thread.join()


class Mailbox:
    """What an SMTP server has taken."""

    def __init__(self, port: int) -> None:
        self.mails: list[EmailMessage] = []
        self.port = port

    @property
    def url(self) -> str:
        return f"mailto://127.0.0.1:{self.port}?from=biogate@example.org&to=eva@example.org&mode=insecure"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        self.mails.append(email.message_from_bytes(envelope.content, policy=email.policy.default))
        return "250 OK"


@contextmanager
def mailbox() -> Iterator[Mailbox]:
    box = Mailbox(any_free())
    controller = Controller(box, hostname="127.0.0.1", port=box.port)
    controller.start()
    try:
        yield box
    finally:
        controller.stop()
