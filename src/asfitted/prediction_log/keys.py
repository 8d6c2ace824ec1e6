"""When two values of a key are the same, however each was spelled or hashed."""

from __future__ import annotations

import contextlib
import json
import os
from functools import lru_cache
from typing import Any

import numpy as np

from asfitted.errors import ConfigError
from asfitted.prediction_log.fields import KEY_VARIABLE, OLD_KEYS_VARIABLE, keyed_hash

_HASHED = "hmac-sha256:"


def spelled(value: Any) -> str:
    """Return what a key's value is compared by: a number and its digits are one value.

    Examples
    --------
    >>> [spelled(value) for value in ("17", 17, 17.0, "A7", True)]
    ['17', '17', '17', 'A7', 'true']
    """
    if isinstance(value, str):
        return value
    if isinstance(value, np.generic):
        value = value.item()  # of a cell of a DataFrame
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def is_hashed(value: Any) -> bool:
    """Whether the field policy has put its hash in the place of a value."""
    return isinstance(value, str) and value.startswith(_HASHED)


def hashes(value: Any) -> frozenset[str]:
    """Return what the log holds of a hashed `value`: as a text, and as what the text spells.

    Under ASFITTED_HASH_KEY and under each of ASFITTED_OLD_HASH_KEYS.

    Raises
    ------
    ConfigError
        Where ASFITTED_HASH_KEY is not set.
    """
    key = os.environ.get(KEY_VARIABLE)
    if not key:
        raise ConfigError(
            "what is asked for is hashed on record, and there is no key for it",
            f"environment variable {KEY_VARIABLE}",
            "set it to the secret that the records were written with",
        )
    keys = [key, *os.environ.get(OLD_KEYS_VARIABLE, "").split()]
    return _hashes(spelled(value), tuple(keys))


@lru_cache(maxsize=4096)
def _hashes(text: str, keys: tuple[str, ...]) -> frozenset[str]:
    candidates: list[Any] = [text]
    with contextlib.suppress(ValueError):
        candidates.append(json.loads(text))
    secrets = [key.encode("utf-8", "surrogateescape") for key in keys]
    return frozenset(keyed_hash(v, key) for v in candidates if v is not None for key in secrets)


def same(value: Any, wanted: Any) -> bool:
    """Whether a key on record is the one that is asked for, which is not hashed itself.

    Raises
    ------
    ConfigError
        Where it is hashed on record, and without ASFITTED_HASH_KEY nobody can tell.
    """
    if value is None or wanted is None:
        return value is wanted
    if spelled(value) == spelled(wanted):
        return True
    if not is_hashed(value):
        return False
    return value in hashes(wanted)
