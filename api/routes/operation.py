"""Routes for operation: is the process alive, can it answer, and its metrics."""

from __future__ import annotations

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from api.access.guard import Accounts
from api.database import Database
from api.http import answers, description
from api.problems import Unavailable
from schema import migrate
from schema.reachability import answer_within

router = APIRouter(tags=["operation"], default_response_class=Response)


READY_S = 1.5
ALIVE = answers.json({"status": "alive"})


@router.get(
    "/health",
    summary="The process is alive",
    responses=description.ALWAYS | {200: {"content": {"application/json": {"example": {"status": "alive"}}}}},
)
async def health() -> Response:
    return ALIVE


@router.get(
    "/ready",
    summary="The database can be reached and its schema is current",
    responses=description.ALWAYS
    | {503: description.DATABASE[503], 200: {"content": {"application/json": {"example": {"status": "ready"}}}}},
)
async def ready(database: Accounts) -> Response:
    try:
        missing = await answer_within(READY_S, _missing_migrations(database))
    except TimeoutError as error:
        raise Unavailable(f"the database has not answered within {READY_S:g} s: try again") from error
    if missing:
        raise Unavailable(
            f"migrations have not run: {', '.join(missing)}; run biogate migrate", retry_after=30, pending=missing
        )
    return answers.json({"status": "ready"})


async def _missing_migrations(database: Database) -> list[str]:
    async with database.connection() as connection:
        return await migrate.pending(connection)


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    responses=description.ALWAYS
    | {200: {"content": {"text/plain": {"example": "biogate_api_request_seconds_count 1\n"}}}},
)
async def metrics() -> Response:
    return Response(generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})
