"""An example of what the live feed of telemetry sends, for the description."""

from __future__ import annotations

from api.http.description import T
from api.shapes.alerts import text

LIVE = {"device": "br-1", "time": T, "values": {"ph": 7.02, "do": None}, "quality": {"do": 1}}
SNAPSHOT = {"time": T, "committed_until": T, "devices": [{**LIVE, "units": {"ph": "pH", "do": "%"}}]}
STREAM = (
    f"retry: 2000\n\nevent: snapshot\ndata: {text({**SNAPSHOT, 'unknown': [], 'more': False})}\n\n"
    f"event: changes\ndata: {text({'committed_until': T, 'changes': [{**LIVE, 'skipped': 3}]})}\n\n"
    f"event: heartbeat\ndata: {text({'time': T, 'committed_until': T})}\n\n"
)
