"""The health check of a container: `biogate ready PORT [PATH]`. `docker inspect` shows what it prints."""

from __future__ import annotations

from http.client import HTTPConnection, HTTPException
from typing import Annotated

import typer

from schema.command_line import DONE, FAILED

TIMEOUT_S = 4
"""Below the time-out of the health checks in docker-compose.yml."""


def ready(port: int, path: str = "/ready") -> tuple[bool, str]:
    """Whether it is, and its words."""
    connection = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status == 200, f"{answer.status}: {answer.read(2000).decode(errors='replace')}"
    except (OSError, HTTPException) as error:
        return False, f"no answer on port {port}: {error or type(error).__name__}"
    finally:
        connection.close()


def main(
    port: Annotated[int, typer.Argument(help="where the program listens on this machine")],
    path: Annotated[str, typer.Argument(help="what it is asked for")] = "/ready",
) -> int:
    """Ask a program whether it is ready."""
    well, said = ready(port, path)
    print(said)
    return DONE if well else FAILED
