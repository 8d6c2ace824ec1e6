"""The sections of a contract beside its columns: what a request and an answer may be."""

from __future__ import annotations

from pydantic import Field, model_validator

from asfitted.contract.checks import Check
from asfitted.contract.column import FrozenModel, WrongRule


class Limits(FrozenModel):
    """What one request may hold."""

    rows: int = Field(default=100_000, gt=0)
    bytes: int = Field(default=50_000_000, gt=0)


class Output(FrozenModel):
    """What an answer must be, beside what every answer must be.

    Attributes
    ----------
    min, max : number, optional
        Bounds of each prediction of a regression, inclusive.
    checks : tuple of Check
        Called with the conformed rows and the answers.
    why : dict of rule to reason
    """

    min: int | float | None = Field(default=None, allow_inf_nan=False)
    max: int | float | None = Field(default=None, allow_inf_nan=False)
    checks: tuple[Check, ...] = ()
    why: dict[str, str] = Field(default={})

    @model_validator(mode="after")
    def _bounds_make_sense(self) -> Output:
        if self.min is not None and self.max is not None and self.min > self.max:
            raise WrongRule("min", f"min {self.min} is above max {self.max}")
        return self
