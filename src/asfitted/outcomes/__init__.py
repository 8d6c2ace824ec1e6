"""What came true: taken in, held to the contract's target, and put on record."""

from asfitted.outcomes.adding import OutcomeReport, add_outcomes

__all__ = ["OutcomeReport", "add_outcomes"]
