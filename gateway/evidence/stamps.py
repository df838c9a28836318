"""Time stamps by RFC 3161: a service of somebody else vouches that a checkpoint was there at a time."""

from __future__ import annotations

import time
from collections.abc import Sequence

import httpx2
import structlog
from cryptography import x509

from gateway.errors import words_of
from gateway.evidence import metrics
from gateway.evidence.checkpoint_file import CheckpointFile
from gateway.runtime.database import Pool
from gateway.settings import Settings
from schema.evidence.checkpoints import Checkpoint
from schema.evidence.tokens import TokenRefused, authorities, token_of, token_request

log = structlog.get_logger()

TIMEOUT_S = 10.0
HEADERS = {"Content-Type": "application/timestamp-query"}
KEEP = "update checkpoints set token = $3 where organization_id = $1 and number = $2 and token is null"


class Stamps:
    """Has the newest checkpoint of each organization stamped every `evidence_tsa_s`: it vouches for all before it."""

    def __init__(self, settings: Settings, pool: Pool, file: CheckpointFile) -> None:
        """Raises TokenRefused if the service's authorities cannot be read."""
        self._url = settings.evidence_tsa_url
        self._roots = [] if settings.evidence_tsa_ca_file is None else authorities(settings.evidence_tsa_ca_file)
        self._every_s = settings.evidence_tsa_s
        self._pool, self._file = pool, file
        self._stamped: dict[int, tuple[float, int]] = {}

    async def stamp(self, checkpoint: Checkpoint) -> None:
        """Have it stamped, if its organization's turn has come. That the service fails holds up nothing: it is told."""
        said = checkpoint.says
        since, number = self._stamped.get(said.organization, (float("-inf"), 0))
        if self._url is None or number == said.number or time.monotonic() - since < self._every_s:
            return
        try:
            token = await stamped(str(self._url), checkpoint.text, self._roots)
        except TokenRefused as error:
            metrics.STAMPS.labels("failed").inc()
            log.error("no time stamp", organization=said.organization, checkpoint=said.number, error=words_of(error))
            return
        await self._pool.execute(KEEP, said.organization, said.number, token)
        self._file.append_token(said.organization, said.number, token)
        self._stamped[said.organization] = time.monotonic(), said.number
        metrics.STAMPS.labels("made").inc()


async def stamped(url: str, text: str, roots: Sequence[x509.Certificate]) -> bytes:
    """Return a token (DER) over the SHA-256 of the text. Raises TokenRefused."""
    request = token_request(text)
    try:
        async with httpx2.AsyncClient(timeout=TIMEOUT_S) as client:
            answer = await client.post(url, content=request.as_bytes(), headers=HEADERS)
    except httpx2.HTTPError as error:
        raise TokenRefused(f"the service gives no answer: {error or type(error).__name__}") from error
    if answer.status_code != httpx2.codes.OK:
        raise TokenRefused(f"the service answers {answer.status_code}")
    return token_of(answer.content, request, text, roots)
