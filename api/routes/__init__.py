"""The HTTP routes, one module a subject. Routes for data are below /api/v1; those that read take `format`."""

from collections.abc import Callable
from typing import Any, TypeVar

from fastapi import APIRouter, Depends, Response

from api.http.parameters import reject_repeated_parameters

PREFIX = "/api/v1"
Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


class Router(APIRouter):
    """The routes of one subject, under one tag of the description."""

    def __init__(self, tag: str, *guards: Any, prefix: str = PREFIX, **options: Any) -> None:
        guarded = [*guards, Depends(reject_repeated_parameters)]
        super().__init__(prefix=prefix, tags=[tag], dependencies=guarded, default_response_class=Response, **options)

    def table(self, path: str, **options: Any) -> Callable[[Endpoint], Endpoint]:
        """Register a GET route for rows, and its twin whose address ends in `.csv`."""

        def register(endpoint: Endpoint) -> Endpoint:
            self.get(path, **options)(endpoint)
            self.get(f"{path}.csv", include_in_schema=False, dependencies=options.get("dependencies"))(endpoint)
            return endpoint

        return register
