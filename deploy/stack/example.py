"""What a newcomer finds beside the past that simulated controllers tell: their runs, a deviation, and a batch report.

All of it is asked of the API, as anybody could. It is made once, for a plant that begins, and nothing depends on it:
what cannot be made is left out.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

LOOK_S, GIVE_UP_S = 5.0, 900.0
WHY = "an example, made by `make up`"
TITLE = "Foam: antifoam was dosed"
DESCRIPTION = (
    "An example of a deviation, made by `make up`. The controller dosed antifoam by itself in this run. Say whether "
    "that matters for the product, link what else belongs to it, and close it with a reason."
)


@dataclass
class Example:
    """Asks the API at `url` with the key in a file."""

    url: str
    key: Path
    is_done: bool = False
    _begun: float = field(default_factory=time.monotonic, init=False)
    _next: float = field(default=0.0, init=False)

    def begin(self) -> None:
        """Let runs begin and end as the controllers say."""
        self._ask("PATCH", "organization", {"runs_automatic": True, "why": WHY})

    def step(self) -> None:
        """Open the deviation and ask for the report, once there is a run that is over and had antifoam. Asks at most
        every LOOK_S; never raises."""
        now = time.monotonic()
        if self.is_done or now < self._next:
            return
        self._next = now + LOOK_S
        try:
            run = self._foaming_run()
            if run is not None:
                link = {"kind": "run", "reference": run}
                self._ask(
                    "POST",
                    "deviations",
                    {"title": TITLE, "description": DESCRIPTION, "severity": "minor", "link": link},
                )
                self._ask("POST", "reports", {"kind": "batch", "run": run})
        except (OSError, ValueError):
            run = None
        self.is_done = run is not None or now - self._begun > GIVE_UP_S

    def _foaming_run(self) -> str | None:
        for run in self._ask("GET", "runs?state=complete&limit=20")["runs"]:
            for device in run["devices"]:
                span = f"type=dosing&from={quote(run['begins'])}&to={quote(run['ends'])}&limit=1"
                if self._ask("GET", f"devices/{quote(device)}/events?{span}")["events"]:
                    return str(run["run"])
        return None

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Return the answer. Raises OSError, ValueError."""
        headers = {"Authorization": f"Bearer {self.key.read_text().strip()}", "Content-Type": "application/json"}
        content = None if body is None else json.dumps(body).encode()
        request = Request(f"{self.url}/api/v1/{path}", content, headers, method=method)  # noqa: S310 - our own http URL
        try:
            with urlopen(request, timeout=5) as answer:  # noqa: S310
                return json.loads(answer.read() or b"null")
        except HTTPError as error:
            error.close()
            raise
