"""Two tables more: what came true, and what was taken out."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make `outcomes` and `removals`."""
    postgresql = op.get_bind().dialect.name == "postgresql"

    def text(name: str, nullable: bool = False) -> sa.Column[str]:
        return sa.Column(name, sa.Text(), nullable=nullable)

    def time(name: str, nullable: bool = False) -> sa.Column[Any]:
        kind: Any = sa.TIMESTAMP(timezone=True) if postgresql else sa.BigInteger()
        return sa.Column(name, kind, nullable=nullable)

    op.create_table(
        "outcomes",
        sa.Column("outcome_id", sa.Text(), primary_key=True),
        text("prediction_id", nullable=True),
        time("recorded_at"),
        time("observed_at", nullable=True),
        text("model_name"),
        text("model_version"),
        text("keys"),
        text("outcome"),
        text("writer"),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        text("source"),
    )
    op.create_index("outcomes_recorded_at", "outcomes", ["recorded_at"])
    op.create_table(
        "removals",
        sa.Column("removal_id", sa.Text(), primary_key=True),
        time("removed_at"),
        text("kind"),
        text("who"),
        text("model_name"),
        text("model_version"),
        text("condition"),
        text("counts"),
        text("gaps"),
        text("reason"),
        text("writer"),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
    )
    op.create_index("removals_removed_at", "removals", ["removed_at"])
