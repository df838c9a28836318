"""The addresses, one module a subject. All data routes are under /api/v1; those that read take `format`."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from api.database import Database


def _database(request: Request) -> Database:
    database: Database = request.app.state.database
    return database


Db = Annotated[Database, Depends(_database)]
PREFIX = "/api/v1"
