"""The local stack as a library: a private PostgreSQL with TimescaleDB and a private Mosquitto.

    with deploy.stack.local("mine") as stack:
        connect(stack.postgres.url, stack.mosquitto.url)

Standard library only. `python3 -m deploy.bootstrap`, which `make up` and `make test` run first, makes what the servers
need (a private Debian root, if the machine has no fitting servers).
"""

from __future__ import annotations

from deploy.stack.errors import StackError, StartError
from deploy.stack.local import Local, local
from deploy.stack.servers import Mosquitto, Postgres, StackServer

__all__ = ["Local", "Mosquitto", "Postgres", "StackError", "StackServer", "StartError", "local"]
