"""Checks that no table of rules can say: named functions of the user's, in code_paths."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field, field_validator

from asfitted.contract.column import FrozenModel
from asfitted.errors import CheckFailed, Violation

_FUNCTION = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)


class Check(FrozenModel):
    """One named check.

    Attributes
    ----------
    function : str
        ``module:function``. The module travels in ``code_paths``. It is called with
        the conformed rows (a DataFrame of shape (n_rows, n_features)), an output check
        with the answers as well (of shape (n_rows, n_outputs)), and returns a mask of
        shape (n_rows,): True where the row is allowed.
    why : str
        The reason, for people; it stands in the refusal, so it holds no secrets.
    """

    function: str
    why: str = Field(default="", max_length=300)

    @field_validator("function")
    @classmethod
    def _is_module_and_function(cls, function: str) -> str:
        if not _FUNCTION.fullmatch(function):
            raise ValueError(f"{function!r} is not module:function, e.g. checks:lands_after_start")
        if function.startswith("__main__:"):
            raise ValueError("a script or notebook cannot be shipped: move the check to a module")
        return function

    @property
    def module(self) -> str:
        """The module that holds the function."""
        return self.function.partition(":")[0]

    @property
    def name(self) -> str:
        """The function's own name: the rule of a violation."""
        return self.function.partition(":")[2]

    def load(self) -> Callable[..., Any]:
        """Return the function.

        Raises
        ------
        CheckFailed
            Where it cannot be imported.
        """
        try:
            return getattr(importlib.import_module(self.module), self.name)  # type: ignore[no-any-return]
        except Exception as error:
            raise CheckFailed(
                f"the check {self.function} cannot be imported: {type(error).__name__}: {error}",
                self.function,
                f"put the folder of {self.module} on PYTHONPATH, and the file in code_paths",
            ) from error

    def allowed(self, *frames: pd.DataFrame) -> np.ndarray[Any, Any]:
        """Return the mask of the rows that pass.

        Parameters
        ----------
        *frames : DataFrame of shape (n_rows, …)
            The function gets copies: it judges, it does not prepare.

        Raises
        ------
        CheckFailed
            Where the function raises, or returns anything but a mask of the rows.
        """
        function = self.load()
        try:
            mask = np.asarray(function(*(frame.copy() for frame in frames)))
        except Exception as error:
            raise CheckFailed(
                f"the check {self.function} failed: {type(error).__name__}: {error}", self.function
            ) from error
        if mask.shape != (len(frames[0]),) or not _is_boolean(mask):
            raise CheckFailed(
                f"the check {self.function} returned {mask.dtype} of shape {mask.shape}, not true "
                f"or false for each of {len(frames[0])} rows",
                self.function,
                "return a mask such as frame['low'] <= frame['high']; a comparison with a "
                "missing value is false",
            )
        return mask.astype(bool)


def _is_boolean(mask: np.ndarray[Any, Any]) -> bool:
    """Whether `mask` is of booleans; pandas' nullable ones come as objects."""
    return mask.dtype == bool or all(isinstance(value, (bool, np.bool_)) for value in mask)


def broken(checks: Sequence[Check], *frames: pd.DataFrame) -> list[Violation]:
    """Return what `checks` say against the rows, one violation per check.

    Raises
    ------
    CheckFailed
    """
    n_rows = len(frames[0])
    if n_rows == 0:
        return []
    violations = []
    for check in checks:
        rows = np.flatnonzero(~check.allowed(*frames))
        if len(rows):
            said = f"rows fail {check.name}" + (f": {check.why}" if check.why else "")
            violations.append(Violation("", check.name, said, tuple(rows.tolist()), n_rows))
    return violations
