"""What came true: taken in, held to the contract's target, and put on record."""

from asfitted.outcomes.adding import add_outcomes
from asfitted.outcomes.judging import OutcomeReport

__all__ = ["OutcomeReport", "add_outcomes"]
