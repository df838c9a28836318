"""The pages for people that the API itself serves; what they may load and run is in `api/edge/headers.py`."""

from __future__ import annotations

from pathlib import Path

from fastapi.responses import HTMLResponse

RESET = (Path(__file__).parent / "reset.html").read_text()


async def reset() -> HTMLResponse:
    """The page behind the link of an admin, which asks for a new password."""
    return HTMLResponse(RESET)
