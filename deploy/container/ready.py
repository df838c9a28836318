"""The health check of a container: `python -m deploy.container.ready PORT [PATH]`. Status 0 if the program there
answers with 200; what is in the way is printed, and is in what `docker inspect` says of the container."""

from __future__ import annotations

import sys
from http.client import HTTPConnection, HTTPException

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


if __name__ == "__main__":
    well, said = ready(int(sys.argv[1]), *sys.argv[2:])
    print(said)
    sys.exit(not well)
