"""`python -m api`: serve until SIGTERM or SIGINT, finish what is being answered, exit 0."""

from __future__ import annotations

import gc
import signal
import sys

import uvicorn
from pydantic import ValidationError

from api.app import create_app
from api.edge import logs
from api.edge.protocol import limited
from api.settings import Settings

GARBAGE = 20_000
"""Objects made until the collector looks: the usual 700 is several looks for each larger answer."""


def _exit(*_: object) -> None:
    raise SystemExit(0)


def main() -> None:
    # uvicorn drains on these and then raises them again for whoever listened before it: a wanted end is a success.
    signal.signal(signal.SIGTERM, _exit)
    signal.signal(signal.SIGINT, _exit)
    try:
        settings = Settings()
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
    uvicorn.run(
        app,
        host=settings.api_host,
        port=settings.api_port,
        log_config=None,
        access_log=False,
        server_header=False,
        ws="none",
        http=limited(settings.api_connections),
        forwarded_allow_ips=settings.api_trusted_proxies,
        timeout_graceful_shutdown=10,
    )


if __name__ == "__main__":
    main()
