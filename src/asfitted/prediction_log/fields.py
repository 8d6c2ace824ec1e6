"""The field policy: what of a row may go on record, decided before the first byte is written."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import pandas as pd

from asfitted.errors import ConfigError
from asfitted.prediction_log.json_rows import Column, listed

KEY_VARIABLE = "ASFITTED_HASH_KEY"
# Keys of before, apart by spaces: nothing is written with them, and what was is still found.
OLD_KEYS_VARIABLE = "ASFITTED_OLD_HASH_KEYS"

Action = Literal["keep", "hash", "drop"]
# From the mildest to the strictest.
_STRICTNESS = get_args(Action)
# What a finding says about the contract; everything else in it may be a value.
_NO_VALUE = frozenset({"column", "rule"})


@dataclass(frozen=True)
class FieldPolicy:
    """Keep, drop or hash fields by name; a field that is not named is kept.

    Parameters
    ----------
    fields : mapping of str to {"keep", "hash", "drop"}
        ``hash`` puts ``hmac-sha256:<hex>`` in the place of the value, under the
        key in the environment variable ``ASFITTED_HASH_KEY``: equal values stay
        equal, and without the key nobody can try values until one fits.

    Raises
    ------
    ConfigError
        Where an action is unknown, or a hash is declared and the key is missing.

    Examples
    --------
    >>> policy = FieldPolicy({"tailnum": "drop"})
    >>> policy.apply({"carrier": "UA", "tailnum": "N14228"})
    {'carrier': 'UA'}
    """

    fields: Mapping[str, Action] = field(default_factory=dict)
    _key: bytes = field(init=False, repr=False, compare=False, default=b"")

    def __post_init__(self) -> None:
        unknown = {n: a for n, a in self.fields.items() if a not in _STRICTNESS}
        if unknown:
            name, action = next(iter(unknown.items()))
            raise ConfigError(
                f"the field policy of {name!r} is {action!r}",
                mend=f"say one of {', '.join(_STRICTNESS)}",
            )
        hashed = [name for name, action in self.fields.items() if action == "hash"]
        key = os.environ.get(KEY_VARIABLE, "")
        if hashed and not key:
            raise ConfigError(
                f"{', '.join(hashed)} shall be hashed and there is no key for it",
                f"environment variable {KEY_VARIABLE}",
                "set it to a secret that stays the same, for instance from "
                "python -c 'import secrets; print(secrets.token_hex(32))'",
            )
        object.__setattr__(self, "fields", dict(self.fields))
        object.__setattr__(self, "_key", key.encode("utf-8", "surrogateescape"))

    def __reduce__(self) -> tuple[Any, ...]:
        # The key does not travel in a pickle: the other side has it, or refuses.
        return FieldPolicy, (dict(self.fields),)

    def apply(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Return `row` (inputs or keys) as it may be recorded."""
        if not self.fields:
            return dict(row)
        kept = {}
        for name, value in row.items():
            action = self.fields.get(name, "keep")
            if action != "drop":
                kept[name] = self._hash(value) if action == "hash" else value
        return kept

    def apply_columns(self, columns: Mapping[str, Column]) -> dict[str, Column]:
        """Return the columns of a table as they may be recorded; what `apply` does to its rows."""
        kept: dict[str, Column] = {}
        for name, values in columns.items():
            action = self.fields.get(name, "keep")
            if action != "drop":
                kept[name] = self._hashes(values) if action == "hash" else values
        return kept

    def _hashes(self, values: Column) -> list[str | None]:
        if isinstance(values, pd.Categorical):
            labels, codes = [*values.categories.tolist(), None], values.codes.tolist()
            hashes = {code: self._hash(labels[code]) for code in set(codes)}
            return [hashes[code] for code in codes]
        return [self._hash(value) for value in listed(values)]

    def apply_finding(self, finding: Mapping[str, Any]) -> dict[str, Any]:
        """Return `finding` with its values treated as those of its column.

        That a dropped field was, say, filled stays on record; what stood in it
        does not.
        """
        action = self.fields.get(str(finding.get("column", "")), "keep")
        if action == "keep":
            return dict(finding)
        return {
            name: value if name in _NO_VALUE else self._hash(value)
            for name, value in finding.items()
            if name in _NO_VALUE or action == "hash"
        }

    def _hash(self, value: Any) -> str | None:
        """Return the keyed hash of the canonical JSON of `value`; null stays null."""
        return None if value is None else keyed_hash(value, self._key)


def keyed_hash(value: Any, key: bytes) -> str:
    """Return what stands on record in the place of a hashed `value`."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # 7 and 7.0 are one value, whichever door it came through
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return f"hmac-sha256:{hmac.new(key, text.encode(), hashlib.sha256).hexdigest()}"


def strictest(a: FieldPolicy, b: FieldPolicy) -> FieldPolicy:
    """Return the policy that treats each field as the stricter of the two does.

    Examples
    --------
    >>> merged = strictest(FieldPolicy({"x": "drop"}), FieldPolicy({"x": "keep", "y": "drop"}))
    >>> dict(merged.fields)
    {'x': 'drop', 'y': 'drop'}
    """
    merged: dict[str, Action] = dict(a.fields)
    for name, action in b.fields.items():
        merged[name] = max(action, merged.get(name, "keep"), key=_STRICTNESS.index)
    return FieldPolicy(merged)
