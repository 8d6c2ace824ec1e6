"""Promotion through gates, with evidence, on the record; and the way back.

::

    from asfitted.config import load_config
    from asfitted.registry import history, promote, rollback

    config = load_config()
    promote("flights", "3", "champion", config)     # GateRefused, or the alias has moved
    rollback("flights", "champion", config)         # back to the version before
    history("flights")                              # every decision, refusals too

The way of a decision: `evidence` is gathered from processes of their own, `gates`
turn it into verdicts, `moves` writes the decision to the `history` and then moves
the alias; `store` is MLflow.
"""

from __future__ import annotations

from asfitted.registry.promotion import history, promote
from asfitted.registry.rollback import rollback

__all__ = ["history", "promote", "rollback"]
