"""A plant in which simulated controllers enroll: broker with logins and TLS, database, gateway."""

from __future__ import annotations

import asyncio
import csv
import hmac
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg

from tests.conftest import Broker
from tests.forked import Talking
from tests.processes import GatewayProcess

QUICK = ("--repeat-after", "0.3")


class Plant:
    def __init__(self, broker: Broker, database: asyncpg.Connection, gateway: GatewayProcess, directory: Path) -> None:
        self.broker, self.database, self.gateway = broker, database, gateway
        self.state, self.claims = directory / "state", directory / "claims.csv"
        self._directory = directory
        self._master = bytes.fromhex((broker.secrets / "claim-1.key").read_text())

    def start(self, **settings: Any) -> None:
        given: dict[str, Any] = {
            "secrets_dir": self.broker.secrets,
            "device_broker_url": f"mqtts://localhost:{self.broker.tls_port}",
            "device_certificate_broker_url": f"mqtts://localhost:{self.broker.certificate_port}",
            "enroll_pending_s": 1,
            "receipt_interval_s": 0.2,
        }
        self.gateway.start(**{**given, **settings})

    def produced(self, *serials: str) -> None:
        """Controllers with their claim keys; nobody here knows of them yet."""
        with self.claims.open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(("serial", "claim_key", "version"))
            for serial in serials:
                rows.writerow((serial, hmac.digest(self._master, b"claim/1/" + serial.encode(), "sha256").hex(), 1))
        self.claims.chmod(0o600)

    async def approve_beforehand(self, **names: str) -> None:
        """Serial → the name it gets. (Underscores are hyphens.)"""
        given = {serial.replace("_", "-"): name for serial, name in names.items()}
        await self.database.execute(
            "select serials_import($1, $2, $3, $4, 'tests', null, 'tests', 'delivered')",
            list(given),
            list(given.values()),
            [1] * len(given),
            [None] * len(given),
        )

    def options(self, *more: str) -> list[str]:
        port, secrets = self.broker.enroll_port, self.broker.secrets
        return [
            *("--enroll", f"mqtts://localhost:{port}", "--claims", str(self.claims), "--state", str(self.state)),
            *("--ca", str(secrets / "ca.pem"), "--enroll-password-file", str(secrets / "enroll.password")),
            *QUICK,
            *more,
        ]

    def enroll(self, *more: str) -> tuple[int, list[dict[str, Any]]]:
        """`python -m device_sim.enroll`: exit status and lines."""
        enrolling = Talking("device_sim.enroll", *self.options(*more))
        said = enrolling.finish()
        return enrolling.wait(), [json.loads(line) for line in said.splitlines()]

    def fleet(self, *more: str) -> Talking:
        """`python -m device_sim`, in the background."""
        return Talking("device_sim", *self.options("--format", "json", "--rate", "20", *more))

    async def logins(self) -> list[tuple[str, str]]:
        """Names of logins that are to work, and the state of their devices."""
        rows = await self.database.fetch(
            "select username, state from credentials join devices using (device_id) where wanted = 'present'"
            " order by username"
        )
        return [(row["username"], row["state"]) for row in rows]

    async def until(self, query: str, *arguments: object, seconds: float = 30) -> None:
        """Until the query says true."""
        async with asyncio.timeout(seconds):
            while not await self.database.fetchval(query, *arguments):
                await asyncio.sleep(0.05)

    async def until_active(self, *logins: str) -> None:
        """Until these logins have been used and the older ones are gone, and there are no others."""
        await self.until(
            """select array_agg(username order by username)
                      filter (where wanted = 'present' and activated_at is not null) = $1::text[]
                  and bool_and(wanted = applied)
                 from credentials""",
            sorted(logins),
        )


async def stopped(process: Talking, stop: Callable[[Talking], None]) -> dict[str, Any]:
    """The last summary of a fleet that is ended; of one that is killed there may be none."""
    stop(process)
    out = await asyncio.to_thread(process.finish)
    summary: dict[str, Any] = json.loads(out.splitlines()[-1]) if out else {}
    return summary
