"""Reports: have one made, wait for it, and keep its file under the hash that the server has noted."""

from __future__ import annotations

import hashlib
from pathlib import Path

from biogate.asking import Flow, HttpAsk, Patience, answered, segment
from biogate.calls import API
from biogate.errors import ClientError
from biogate.export import Target, finished

FORMS = ("html", "pdf", "json")


def report(run: str, template: str | None, target: Target, wait_s: float) -> Flow[Path]:
    target.check()
    form = target.path.suffix.removeprefix(".")
    if form not in FORMS:
        raise ClientError(f"end the path with .{', .'.join(FORMS)}")
    body = {"kind": "batch", "run": run} | ({} if template is None else {"template": template})
    ask = HttpAsk(f"{API}/reports", method="POST", body=body, is_read=False)
    job = str((yield from answered(ask, Patience(target.patience_s))).json()["id"])
    yield from finished("report", job, target, wait_s)
    reply = yield from answered(HttpAsk(f"{API}/reports/{segment(job)}/report.{form}"), Patience(target.patience_s))
    if reply.headers.get("etag", "").strip('"') != hashlib.sha256(reply.content).hexdigest():
        raise ClientError(f"report {job} came with another SHA-256 than was noted of it: get it again")
    target.path.write_bytes(reply.content)
    return target.path
