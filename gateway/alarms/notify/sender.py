"""`python -m gateway.alarms.notify.sender`: send messages by apprise, one after another, for the process that evaluates
alarms (channel.py).

A service that a person named answers here, and a library that knows 130 services reads its answers. So this process has
bounded memory, no secrets of the product and no connection to anything of it, and is ended from outside when a message
takes too long. It says `ready`; then each line of its input is a message in JSON, and each line of its output what
became of it. A library's error text may hold the URL, so only the class of an error is told.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import resource
import signal
import sys
from pathlib import Path

import apprise
from apprise.logger import logger

from gateway.alarms.notify.confinement import NOT_PUBLIC, Confinement, confine
from gateway.alarms.notify.sending import BAD_ANSWER, READY, Sending

MEMORY = 192 << 20
"""The most bytes of address space; 70 MB are taken before the first message."""
CONNECT_S, ANSWER_S = 5.0, 10.0
"""Seconds for each connection of a message, whatever the URL says."""
PACE_S = 0.2
"""Seconds between two connections of a message."""
UNREACHED = "the service cannot be reached, or broke off"
UNREACHED_IN_PUBLIC = "the service cannot be reached at a public address, or broke off"


def send(message: Sending) -> str | None:
    """Send a message; None when the service has it, else the reason, without secrets."""
    confinement, said = Confinement(message.private), _Said()
    for each in (logger, logging.getLogger("urllib3")):
        each.handlers[:], each.propagate = [said], False
    confine(confinement)
    try:
        sent = _sent(message)
    except MemoryError:
        return BAD_ANSWER
    except Exception as error:
        return _reason("", confinement) if confinement.refused else f"a defect: {type(error).__name__}"
    if sent is None:
        return "the URL is none that its kind understands"
    return None if sent else _reason(" ".join(said.words), confinement)


def _sent(message: Sending) -> bool | None:
    """Whether the service has taken it; None if the URL is none of its kind."""
    asset = apprise.AppriseAsset(
        app_id="Biogate",
        app_desc="Biogate",
        app_url="",
        image_url_mask="",
        image_url_logo="",
        async_mode=False,
        interpret_emojis=False,
        http_redirects=False,
        service_timeout=0,  # another value would start another thread
        storage_mode="memory",
    )
    service = apprise.Apprise.instantiate(message.url, asset=asset)
    if service is None:
        return None
    # Options in the URL may set these otherwise.
    service.redirects = False
    service.socket_connect_timeout, service.socket_read_timeout = CONNECT_S, ANSWER_S
    service.request_rate_per_sec = min(service.request_rate_per_sec, PACE_S)
    service.retry, service.wait, service.optional = 0, 0.0, False
    services = apprise.Apprise(asset=asset)
    services.add(service)
    return bool(
        services.notify(
            message.text,
            message.title,
            notify_type=apprise.NotifyType(message.tone),
            body_format=apprise.NotifyFormat.TEXT,
        )
    )


def _reason(said: str, confinement: Confinement) -> str:
    """The class of failure, found in what the library has logged.

    It does not tell an address inside the plant from a name that there is not, nor one answer of a service from
    another: who writes a URL could find out by it what stands in the plant."""
    if confinement.refused and confinement.refused != NOT_PUBLIC:
        return f"refused: {confinement.refused}"
    answered = re.search(r"\berror=([2-5])\d{2}\b", said)
    if answered and not confinement.refused:
        return f"the service answered {answered[1]}xx"
    if confinement.refused or re.search("connection|socket|connect", said, re.IGNORECASE):
        return UNREACHED if confinement.private else UNREACHED_IN_PUBLIC
    return BAD_ANSWER if "raised an exception" in said else "the service did not take it"


class _Said(logging.Handler):
    """Keeps what a library logs about one message, and out of any log."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.words: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.words.append(record.getMessage())


def main() -> None:
    with os.fdopen(os.dup(1), "wb", buffering=0) as answers:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # nothing else is said there
        apprise.Apprise.instantiate("json://localhost")  # which loads the kinds of services, 0.3 s
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with contextlib.suppress(OSError):  # where memory runs out, this process ends before the one that evaluates
            Path("/proc/self/oom_score_adj").write_text("1000")
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        answers.write(READY)
        for line in sys.stdin.buffer:
            message = Sending(**json.loads(line))
            signal.setitimer(signal.ITIMER_REAL, message.timeout_s + 1)
            answers.write(json.dumps(send(message)).encode() + b"\n")
            signal.setitimer(signal.ITIMER_REAL, 0)


if __name__ == "__main__":
    main()
