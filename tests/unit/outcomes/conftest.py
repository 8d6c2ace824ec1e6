"""A real PostgreSQL for the tests of outcomes, started when the first asks for it."""

from __future__ import annotations

from real_postgres import database, postgres

__all__ = ["database", "postgres"]
