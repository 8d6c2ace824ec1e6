"""The two tables, as record format 0 has them."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make `predictions` and `refusals`.

    Written out, and not made of `COLUMNS`: what a migration does never changes.
    """
    postgresql = op.get_bind().dialect.name == "postgresql"

    def text(name: str) -> sa.Column[str]:
        return sa.Column(name, sa.Text(), nullable=False)

    def whole(name: str, nullable: bool = False) -> sa.Column[int]:
        return sa.Column(name, sa.BigInteger(), nullable=nullable)

    def time(name: str) -> sa.Column[Any]:
        kind: Any = sa.TIMESTAMP(timezone=True) if postgresql else sa.BigInteger()
        return sa.Column(name, kind, nullable=False)

    op.create_table(
        "predictions",
        sa.Column("prediction_id", sa.Text(), primary_key=True),
        text("request_id"),
        text("batch_id"),
        whole("row"),
        time("received_at"),
        time("scored_at"),
        text("model_name"),
        text("model_version"),
        text("model_digest"),
        text("contract_digest"),
        text("inputs"),
        text("outputs"),
        text("findings"),
        text("keys"),
        text("params"),
        whole("latency_us"),
        text("writer"),
        whole("sequence"),
        text("source"),
    )
    op.create_index("predictions_scored_at", "predictions", ["scored_at"])
    op.create_table(
        "refusals",
        sa.Column("refusal_id", sa.Text(), primary_key=True),
        text("request_id"),
        time("received_at"),
        text("model_name"),
        text("model_version"),
        text("model_digest"),
        text("code"),
        whole("n_rows", nullable=True),
        text("violations"),
        text("writer"),
        whole("sequence"),
        text("source"),
    )
    op.create_index("refusals_received_at", "refusals", ["received_at"])
