"""The addresses, one module a subject. All data routes are under /api/v1; those that read take `format`."""

PREFIX = "/api/v1"
