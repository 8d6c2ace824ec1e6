"""What reading a column gives, and the rules that more than one kind has."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from asfitted.contract.column import Column, Fill
from asfitted.contract.hints import misfit
from asfitted.contract.plain import Array, Plain


@dataclass
class ReadColumn:
    """One column after reading.

    Attributes
    ----------
    values : ndarray or Categorical of shape (n_rows,)
        As the pipeline sees them.
    problems : list of (rule, sentence, mask)
        Violations.
    notes : list of (rule, mask, received)
        Findings; `received` holds what arrived, None for a missing value.
    """

    values: Any = None
    problems: list[tuple[str, str, Array]] = field(default_factory=list)
    notes: list[tuple[str, Array, Array | None]] = field(default_factory=list)

    def refuse(self, rule: str, sentence: str, mask: Array) -> None:
        if mask.any():
            self.problems.append((rule, sentence, mask))

    def note(self, rule: str, mask: Array, received: Array | None = None) -> None:
        if mask.any():
            self.notes.append((rule, mask, received))


def note_missing(source: Plain, column: Column, out: ReadColumn) -> None:
    if column.missing == "refuse":
        out.refuse("missing", "values missing", source.missing)
    elif isinstance(column.missing, Fill):
        out.note("filled", source.missing)


def refuse_type(sentence: str, source: Plain, wrong: Array, out: ReadColumn) -> None:
    """Refuse values of another kind's type, and say how to mend those that are of no kind."""
    if wrong.any() and source.family == "object":
        name, hint = misfit(source.values[wrong])
        sentence += f" but {name}; {hint}" if name else ""
    out.refuse("type", sentence, wrong)


def check_bounds(values: Array, present: Array, column: Column, out: ReadColumn) -> None:
    unit = f" {column.unit}" if column.unit else ""
    low, high = column.bounds("min"), column.bounds("max")
    # NaN and NaT compare false with everything; `present` leaves them out already.
    if low is not None:
        out.refuse("min", f"values below {column.min}{unit}", present & (values < low))
    if high is not None:
        out.refuse("max", f"values above {column.max}{unit}", present & (values > high))
    observed = column.bounds("observed")
    if observed is not None:
        out.note("outside_observed", present & ((values < observed[0]) | (values > observed[1])))
