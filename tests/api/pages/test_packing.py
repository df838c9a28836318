"""What is packed on the way to a browser, and what is not."""

from __future__ import annotations

from datetime import UTC, datetime

import asyncpg

from tests.api.accounts import OWN_PAGE
from tests.api.pages.conftest import PART, Visitor
from tests.api.plant import Plant

API = {"Biogate-Organization": "main"}
FOREIGN = {"Sec-Fetch-Site": "cross-site"}
CASES: list[tuple[str, dict[str, str], bool]] = [
    ("plant", {}, True),
    ("plant", {"Sec-Fetch-Site": "none"}, True),
    ("plant", OWN_PAGE, True),
    ("plant", PART, True),
    ("plant", FOREIGN, False),
    ("plant", {"Sec-Fetch-Site": "same-site"}, False),
    ("plant", {"Accept-Encoding": "identity"}, False),
    ("shell", PART, False),  # which is short
    ("audit.csv", OWN_PAGE, False),
    ("/api/v1/latest", API | OWN_PAGE, True),
    ("/api/v1/latest", API | FOREIGN, False),
    ("/api/v1/latest", API, False),
    ("/api/v1/latest.csv", API | OWN_PAGE, False),
    ("/api/v1/audit.jsonl", API | OWN_PAGE, False),
]


async def test_pages_and_what_they_read_are_packed_and_nothing_that_strangers_or_programs_ask_for(
    admin: Visitor, sql: asyncpg.Connection
) -> None:
    plant, now = Plant(sql), datetime.now(UTC)
    for name in range(20):
        device = await plant.device(f"br-{name}")
        layout = await plant.layout(device, "temperature", "ph", "agitation")
        await plant.frames(device, layout, [(now, [7.0, 37.0, 300.0], None)])
        change = {"title": f"Vessel {name}", "why": "to fill the audit trail"}
        done = await admin.client.patch(f"/api/v1/devices/br-{name}", json=change, headers=API | OWN_PAGE)
        assert done.status_code == 200, done.text
    for path, headers, is_packed in CASES:
        answer = await admin.get(path, headers=headers)
        assert answer.status_code == 200, answer.text
        assert is_packed or path == "shell" or len(answer.content) > 1024, path
        assert (answer.headers.get("content-encoding") == "gzip") == is_packed, f"{path} with {headers}"
        if is_packed:
            assert "Accept-Encoding" in answer.headers["vary"]
            assert int(answer.headers["content-length"]) < len(answer.content) / 2
