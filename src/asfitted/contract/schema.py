"""What a row must be: the contract as frozen data."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import yaml
from pydantic import BaseModel, Field, PrivateAttr, ValidationError, model_validator

from asfitted import _yaml
from asfitted.contract.checks import Check
from asfitted.contract.column import Column, FrozenModel, WrongRule
from asfitted.contract.hints import did_you_mean
from asfitted.contract.problems import problems
from asfitted.contract.sections import Limits, Output
from asfitted.errors import ContractInvalid

if TYPE_CHECKING:
    import pandas as pd

    from asfitted.contract.conform import Conformed
    from asfitted.contract.diff import Change


# A target is there or the row teaches nothing; what fit sees is what was checked.
_TARGET_KINDS = ("number", "integer", "boolean", "category")


class DataContract(FrozenModel):
    """What a row must be, to be trained on and to be answered.

    Read from a YAML file that people review, or proposed by `infer`. Frozen; its
    text is kept, comments and all, and travels with the model.

    Attributes
    ----------
    columns : dict of str to Column
        In the order in which the pipeline sees them.
    keys : tuple of str
        Columns that are logged and not fed to the pipeline.
    extra_columns : "refuse" or "ignore"
    limits : Limits
    row_checks : tuple of Check
        Called with the conformed rows, once every column keeps its own rules.
    output : Output
    target : dict of str to Column
        What is predicted: held to its rules before fit and as an outcome.

    Examples
    --------
    >>> import pandas as pd
    >>> frame = pd.DataFrame({"size": [1.5, None], "colour": ["red", "blue"]})
    >>> contract = DataContract.infer(frame)
    >>> contract.columns["size"].missing
    'pass'
    >>> contract.columns["colour"].categories
    ('blue', 'red')
    """

    schema_version: Literal[1] = 1
    keys: tuple[str, ...] = ()
    extra_columns: Literal["refuse", "ignore"] = "refuse"
    limits: Limits = Limits()
    columns: dict[str, Column]
    row_checks: tuple[Check, ...] = ()
    output: Output = Output()
    target: dict[str, Column] = Field(default={})

    _text: str = PrivateAttr(default="")

    @model_validator(mode="after")
    def _whole_makes_sense(self) -> DataContract:
        strangers = [key for key in self.keys if key not in self.columns]
        if strangers:
            near = did_you_mean(strangers[0], [*self.columns, ""])
            raise WrongRule("keys", f"keys that are not columns: {', '.join(strangers)}{near}")
        if "prediction_id" in self.keys:
            what = "no key can be called prediction_id: each answer gets one of its own"
            raise WrongRule("keys", what)
        if not self.features:
            raise ValueError("no column is left for the pipeline")
        for name in self.features:
            if self.columns[name].kind == "text" and self.columns[name].missing == "pass":
                what = f'columns.{name}: text cannot pass as missing; say {{fill: ""}}'
                raise WrongRule(("columns", name, "missing"), what)
        for name, column in self.target.items():
            if column.kind not in _TARGET_KINDS:
                what = f"target.{name}: a target is one of {', '.join(_TARGET_KINDS)}"
                raise WrongRule(("target", name, "kind"), what)
            if column.may_miss or column.unknown != "refuse" or column.observed is not None:
                what = (
                    f"target.{name}: a target may not miss or be mapped, and its range is min, max"
                )
                raise WrongRule(("target", name), what)
        return self

    @property
    def checks(self) -> tuple[Check, ...]:
        """The row checks and the output checks."""
        return (*self.row_checks, *self.output.checks)

    @property
    def features(self) -> tuple[str, ...]:
        """The columns that the pipeline sees, in order."""
        return tuple(name for name in self.columns if name not in self.keys)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of what the contract says; comments and layout do not count.

        The order of the columns does: it is the order of the pipeline's features.
        """
        said = self.model_dump(mode="json")
        for column in (*said["columns"].values(), *said["target"].values()):
            # A rule that came later: a contract from before keeps its digest.
            if not column["allow_nul"]:
                del column["allow_nul"]
        said["columns"] = list(said["columns"].items())
        canonical = json.dumps(said, sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(canonical.encode()).hexdigest()

    @classmethod
    def infer(
        cls,
        frame: pd.DataFrame,
        *,
        target: Any = None,
        keys: Iterable[str] = (),
        max_categories: int = 200,
    ) -> DataContract:
        """Propose a contract from training data; see `asfitted.contract.infer`."""
        from asfitted.contract.infer import propose

        return cls.from_yaml(
            propose(frame, target=target, keys=tuple(keys), max_categories=max_categories)
        )

    @classmethod
    def from_yaml(cls, text: str, where: str = "contract") -> DataContract:
        """Read a contract from YAML text.

        Raises
        ------
        ContractInvalid
            With the path to each problem, e.g. ``columns.distance.max``.
        """
        try:
            contract = cls.model_validate_json(_as_json(text))
        except (yaml.YAMLError, TypeError) as error:
            raise ContractInvalid(f"not readable as YAML: {error}", where) from error
        except ValidationError as error:
            raise ContractInvalid(problems(error, text, cls), where) from None
        object.__setattr__(contract, "_text", text)
        return contract

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> DataContract:
        """Read a contract from a file.

        Raises
        ------
        ContractInvalid
            Where there is no such file, or it is not a contract.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ContractInvalid(f"the contract cannot be read: {error}", str(path)) from error
        return cls.from_yaml(text, str(path))

    def to_yaml(self) -> str:
        """Return the contract's text, with the comments that it was read or inferred with."""
        from asfitted.contract.infer import render

        return self._text or render(self)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write `to_yaml` to a file."""
        Path(path).write_text(self.to_yaml(), encoding="utf-8")

    def conform(self, frame: pd.DataFrame, *, keys: bool = True, checks: bool = True) -> Conformed:
        """Return `frame` as the pipeline must see it, or refuse it whole.

        See `asfitted.contract.conform.conform`.
        """
        from asfitted.contract.conform import conform

        return conform(self, frame, keys=keys, checks=checks)

    def categories(self, columns: Iterable[str]) -> list[np.ndarray[Any, Any]]:
        """Return the fixed lists for ``OneHotEncoder`` or ``OrdinalEncoder(categories=…)``.

        scikit-learn's ``"auto"`` learns the values it observes, so that a
        declared but unseen category is lost later; these lists are the contract's.

        Parameters
        ----------
        columns : iterable of str
            In the order in which the encoder gets them.

        Returns
        -------
        list of ndarray
            One per column, with NaN at the end where the conformed column may
            hold a missing value. Integers are sorted, as scikit-learn demands.

        Raises
        ------
        ContractInvalid
            Where a column is not a category of this contract.
        """
        lists = []
        for name in columns:
            column = self.columns.get(name)
            if column is None or column.kind != "category":
                known = [n for n, c in self.columns.items() if c.kind == "category"]
                raise ContractInvalid(
                    f"{name!r} is not a category column of the contract",
                    mend=f"its category columns are {', '.join(known) or 'none'}",
                )
            labels: list[Any] = list(column.labels)
            if isinstance(labels[0], int):
                labels.sort()
            # A fill leaves nothing missing; unknown: missing falls under the same rule.
            if column.missing == "pass":
                labels.append(np.nan)
            dtype = object if isinstance(labels[0], str) else None
            lists.append(np.array(labels, dtype=dtype))
        return lists

    # scikit-learn's clone deep-copies parameters and wants what it copied to be
    # usable as is; pickles and skops carry the text.
    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> DataContract:
        return self

    def __copy__(self) -> DataContract:
        return self

    def model_copy(
        self, *, update: Mapping[str, Any] | None = None, deep: bool = False
    ) -> DataContract:
        """Return this contract with other fields, held to the same rules.

        Its comments stay behind: they may no longer be true.
        """
        if not update:
            return self
        return DataContract.model_validate(
            {**{name: getattr(self, name) for name in self.model_fields_set}, **update}
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DataContract) and self.digest == other.digest

    def __getstate__(self) -> dict[Any, Any]:
        return {"yaml": self.to_yaml()}

    def __setstate__(self, state: dict[Any, Any]) -> None:
        super().__setstate__(BaseModel.__getstate__(DataContract.from_yaml(state["yaml"])))

    def __hash__(self) -> int:
        return hash(self.digest)

    def __str__(self) -> str:
        return f"DataContract of {len(self.columns)} columns, {self.digest[:12]}"

    def __repr__(self) -> str:
        kinds = ", ".join(f"{name}: {column.kind}" for name, column in self.columns.items())
        return f"DataContract({kinds})"

    def _repr_html_(self) -> str:
        from asfitted.contract.html import to_html

        return to_html(self)

    def diff(self, new: DataContract) -> tuple[Change, ...]:
        """Return what `new` says differently; see `asfitted.contract.diff`."""
        from asfitted.contract.diff import diff

        return diff(self, new)

    def json_schema(self) -> dict[str, Any]:
        """Return the JSON Schema of one row as it travels; see `asfitted.contract.export`."""
        from asfitted.contract.export import json_schema

        return json_schema(self)

    def to_pandera(self) -> Any:
        """Return the pandera schema of a conformed frame; see `asfitted.contract.pandera`.

        Raises
        ------
        ConfigError
            Where pandera is not installed.
        """
        from asfitted.contract.pandera import to_pandera

        return to_pandera(self)


@lru_cache(maxsize=8)
def _as_json(text: str) -> str:
    # An artifact holds one text twice, and reading it is a good part of a load.
    return json.dumps(_yaml.load(text))
