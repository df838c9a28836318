"""The addresses, one module a subject. All data routes are under /api/v1; those that read take `format`."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from api.database import Database


async def _database(request: Request) -> Database:  # async: FastAPI would call it in a thread
    database: Database = request.app.state.database
    return database


Db = Annotated[Database, Depends(_database)]
PREFIX = "/api/v1"
