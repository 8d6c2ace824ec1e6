"""The rules of one column, as frozen data."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from typing import Any, Literal
from zoneinfo import available_timezones

from pydantic import BaseModel, ConfigDict, Field, model_validator

from asfitted.contract.hints import did_you_mean
from asfitted.contract.moments import is_zone, parse_moment

Kind = Literal["number", "integer", "boolean", "category", "text", "datetime"]

# Which of a column's rules mean something for which kind.
_RULES: dict[str, frozenset[str]] = {
    "number": frozenset({"min", "max", "observed"}),
    "integer": frozenset({"min", "max", "observed"}),
    "boolean": frozenset(),
    "category": frozenset({"categories", "unknown", "other", "allow_nul"}),
    "text": frozenset({"min_length", "max_length", "pattern", "allow_nul"}),
    "datetime": frozenset({"min", "max", "observed", "zone"}),
}
# The largest whole number that no other whole number becomes as a float. One
# more, 2**53, is also what pandas makes of 2**53 + 1 beside a missing value.
EXACT = 2**53 - 1
_EVERYWHERE = frozenset({"kind", "missing", "meaning", "unit", "why"})
DEFAULT_MAX_LENGTH = 1000


class FrozenModel(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class WrongRule(ValueError):
    """One rule of a column or of the contract that makes no sense, and the path to it."""

    def __init__(self, rule: str | tuple[str, ...], what: str) -> None:
        super().__init__(what)
        self.path = (rule,) if isinstance(rule, str) else rule


class Fill(FrozenModel):
    """A declared default: ``{fill: 0}`` puts 0 where the value is missing."""

    fill: bool | int | float | str


class Column(FrozenModel):
    """The rules of one column; see the table of kinds in the guide.

    Attributes
    ----------
    kind : "number", "integer", "boolean", "category", "text" or "datetime"
    missing : "refuse", "pass" or `Fill`
        Whether a missing value is an error, goes on as NaN, or gets a default.
        A column that may miss may also be absent.
    categories : tuple of str or of int, for a category
        The fixed list, in the order of the dummies.
    unknown : "refuse", "missing" or "other", for a category
        What becomes of a value that is not in the list.
    other : str or int, default "other"
        The category that ``unknown: other`` maps to; added to the list where
        it is not in it.
    min, max : number, or ISO 8601 text for a datetime
        Hard bounds, inclusive: outside is refused.
    observed : (low, high)
        The range seen in training: outside is a finding, not an error.
    min_length, max_length : int, for text
        In characters.
    pattern : str, for text
        A regular expression of Python's that the whole text must match.
    allow_nul : bool, for text and a category
        Whether a text may hold the character U+0000, which PostgreSQL, for one,
        cannot keep.
    zone : str, for a datetime
        IANA name of the zone of values that carry none.
    meaning, unit : str
    why : dict of rule to reason
    """

    kind: Kind
    missing: Literal["refuse", "pass"] | Fill = "refuse"
    categories: tuple[str, ...] | tuple[int, ...] = ()
    unknown: Literal["refuse", "missing", "other"] = "refuse"
    other: str | int = "other"
    min: int | float | str | None = None
    max: int | float | str | None = None
    observed: tuple[int | float | str, int | float | str] | None = None
    min_length: int = Field(default=0, ge=0)
    max_length: int = Field(default=DEFAULT_MAX_LENGTH, gt=0)
    pattern: str | None = None
    allow_nul: bool = False
    zone: str = "UTC"
    meaning: str = ""
    unit: str = ""
    why: dict[str, str] = {}

    @property
    def may_miss(self) -> bool:
        """Whether a missing value is allowed on the way in."""
        return self.missing != "refuse"

    @property
    def labels(self) -> tuple[str, ...] | tuple[int, ...]:
        """The categories of the conformed column, `other` included."""
        if self.unknown != "other" or self.other in self.categories:
            return self.categories
        return (*self.categories, self.other)  # type: ignore[return-value]

    @model_validator(mode="after")
    def _rules_make_sense(self) -> Column:
        stray = self.model_fields_set - _RULES[self.kind] - _EVERYWHERE
        if stray:
            raise WrongRule(min(stray), f"a {self.kind} has no {', '.join(sorted(stray))}")
        if self.kind == "category":
            self._categories_make_sense()
        if self.min_length > self.max_length:
            raise WrongRule("min_length", "min_length is above max_length")
        if self.pattern is not None:
            try:
                re.compile(self.pattern)
            except (re.error, RecursionError, OverflowError) as error:
                raise WrongRule("pattern", f"not a regular expression: {error}") from error
        if self.kind == "datetime" and not is_zone(self.zone):
            near = did_you_mean(self.zone, sorted(available_timezones()))
            raise WrongRule("zone", f"{self.zone!r} is not an IANA time zone{near}")
        low, high = self.bounds("min"), self.bounds("max")
        if low is not None and high is not None and low > high:
            raise WrongRule("min", f"min {self.min} is above max {self.max}")
        if self.observed is not None:
            low, high = self.bounds("observed")
            if low > high:
                raise WrongRule("observed", "its low end is above its high end")
        self._fill_makes_sense()
        return self

    def _categories_make_sense(self) -> None:
        if not self.categories:
            raise WrongRule("categories", "a category needs its list of categories")
        if len(set(self.categories)) != len(self.categories):
            twice = sorted({str(c) for c in self.categories if self.categories.count(c) > 1})  # type: ignore[arg-type]
            raise WrongRule("categories", f"categories stand twice: {', '.join(twice)}")
        for label in (*self.categories, self.other):
            if isinstance(label, str) and "\0" in label and not self.allow_nul:
                what = f"the category {label!r} holds a NUL: say allow_nul: true"
                raise WrongRule("categories", what)
            if isinstance(label, int) and abs(label) > EXACT:
                raise WrongRule("categories", f"the category {label} is beyond ±(2^53 − 1)")
        if self.unknown == "missing" and not self.may_miss:
            raise WrongRule("unknown", "unknown: missing needs missing: pass or {fill: …}")
        if self.unknown == "other" and type(self.other) is not type(self.categories[0]):
            raise WrongRule("other", "other must be of the same type as the categories")

    def _fill_makes_sense(self) -> None:
        if not isinstance(self.missing, Fill):
            return
        fill, kind = self.missing.fill, self.kind
        if kind == "category" and fill not in self.labels:
            raise WrongRule("missing", f"the fill {fill!r} is not one of the categories")
        wanted: dict[str, tuple[type, ...]] = {
            "number": (int, float),
            "integer": (int,),
            "boolean": (bool,),
            "text": (str,),
            "category": (str, int),
            "datetime": (str,),
        }
        # bool is an int to Python, not to a reader of the contract.
        if not isinstance(fill, wanted[kind]) or (isinstance(fill, bool) and kind != "boolean"):
            raise WrongRule("missing", f"the fill {fill!r} is not a {kind}")
        if kind == "number" and not _is_finite(fill):
            raise WrongRule("missing", "the fill must be finite")
        if kind == "integer" and abs(fill) > EXACT:  # type: ignore[arg-type]
            raise WrongRule("missing", f"the fill {fill!r} is beyond ±(2^53 − 1)")
        if kind == "text":
            # A conformed row conforms again, so the fill has to keep the rules itself.
            for rule, wrong in self.broken_by([fill]):  # type: ignore[list-item]
                if any(wrong):
                    raise WrongRule("missing", f"the fill {fill!r} breaks the column's own {rule}")
        value: Any = fill
        if kind == "datetime":
            try:
                value = parse_moment(str(fill), self.zone)
            except (ValueError, OverflowError) as error:
                raise WrongRule("missing", f"the fill {fill!r}: {error}") from error
        for rule in ("min", "max"):
            bound = self.bounds(rule)
            if bound is not None and (value < bound if rule == "min" else value > bound):
                raise WrongRule("missing", f"the fill {fill!r} is outside the column's own {rule}")

    def broken_by(self, texts: Sequence[str]) -> Iterator[tuple[str, list[bool]]]:
        """Yield rules about text, those that are broken among them, and which texts break each."""
        if not self.allow_nul and "\0" in "".join(texts):
            yield "nul", ["\0" in text for text in texts]
        lengths = list(map(len, texts))
        if max(lengths, default=0) > self.max_length:
            yield "max_length", [length > self.max_length for length in lengths]
        if self.min_length:
            yield "min_length", [length < self.min_length for length in lengths]
        if self.pattern is not None:
            matches = re.compile(self.pattern).fullmatch
            # What is too long is refused already, and could keep the pattern busy.
            yield (
                "pattern",
                [len(text) <= self.max_length and matches(text) is None for text in texts],
            )

    def bounds(self, rule: Literal["min", "max", "observed"] | str) -> Any:
        """Return a bound as a comparable value: a number, or datetime64[us] in UTC."""
        value = getattr(self, rule)
        if value is None:
            return None
        if rule == "observed":
            return tuple(self._comparable(rule, v) for v in value)
        return self._comparable(rule, value)

    def _comparable(self, rule: str, value: int | float | str) -> Any:
        if self.kind == "datetime":
            if not isinstance(value, str):
                raise WrongRule(rule, f"the bound {value!r} of a datetime must be ISO 8601 text")
            try:
                return parse_moment(value, self.zone)
            except (ValueError, OverflowError) as error:
                raise WrongRule(rule, f"the bound {value!r}: {error}") from error
        if isinstance(value, str) or not _is_finite(value):
            hint = "; YAML takes it for text: write 100000.0" if _reads_as_number(value) else ""
            raise WrongRule(rule, f"the bound {str(value)[:40]!r} is not a finite number{hint}")
        return value


def _reads_as_number(value: Any) -> bool:
    try:
        return isinstance(value, str) and math.isfinite(float(value))
    except ValueError:
        return False


def _is_finite(number: Any) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:
        return False
