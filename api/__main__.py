"""`python -m api`: serve until SIGTERM or SIGINT, finish what is being answered, exit 0."""

from __future__ import annotations

import gc
import signal
import socket
import sys

import uvicorn
from pydantic import ValidationError

from api.app import SOCKETS, create_app
from api.edge import logs
from api.edge.protocol import QuietSocket, limited
from api.live.hub import Hub
from api.settings import ApiSettings

GARBAGE = 20_000
"""Objects made until the collector looks: the usual 700 is several looks for each larger answer."""
MOST_HEARD = 4096
"""Bytes of a message from a socket's client, which has nothing to say."""


class ApiServer(uvicorn.Server):
    """Live feeds never come to their end by themselves."""

    def __init__(self, config: uvicorn.Config, hub: Hub) -> None:
        super().__init__(config)
        self._hub = hub

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._hub.close()
        await super().shutdown(sockets)


def _exit(*_: object) -> None:
    raise SystemExit(0)


def main() -> None:
    # uvicorn drains on these and then raises them again for whoever listened before it: a wanted end is a success.
    signal.signal(signal.SIGTERM, _exit)
    signal.signal(signal.SIGINT, _exit)
    try:
        settings = ApiSettings()
    except ValidationError as error:
        for problem in error.errors():
            print(f"BIOGATE_{str(problem['loc'][0]).upper()}: {problem['msg']}", file=sys.stderr)  # noqa: T201
        raise SystemExit(2) from None
    logs.configure(settings.api_log_level)
    app = create_app(settings)
    # What lives as long as the process is never garbage: to go through it cost a large answer 20 ms, again and again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE)
    config = uvicorn.Config(
        app,
        host=settings.api_host,
        port=settings.api_port,
        log_config=None,
        access_log=False,
        server_header=False,
        ws=QuietSocket,
        ws_max_size=MOST_HEARD,
        ws_per_message_deflate=False,  # 300 KB of memory a client
        http=limited(settings.api_connections, SOCKETS),
        forwarded_allow_ips=settings.api_trusted_proxies,
        timeout_graceful_shutdown=10,
    )
    server = ApiServer(config, app.state.services.hub)
    server.run()
    if not server.started:
        raise SystemExit(3)


if __name__ == "__main__":
    main()
