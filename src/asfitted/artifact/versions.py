"""`show_versions`: what this environment is made of, for the top of a notebook."""

from __future__ import annotations

import datetime as dt
import locale
import platform
import sys
import time
from typing import Any

import threadpoolctl

from asfitted._version import __version__
from asfitted.artifact import environment

_Table = dict[str, dict[str, str]]


def versions(*roots: str) -> _Table:
    """Return what `show_versions` prints, as tables of name to value."""
    zone = dt.datetime.now().astimezone()
    system = {
        "python": sys.version.replace("\n", " "),
        "executable": sys.executable,
        "machine": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "C library": " ".join(platform.libc_ver()) or "unknown",
        "byteorder": sys.byteorder,
        "locale": ".".join(part or "None" for part in locale.getlocale()),
        "encoding": sys.getfilesystemencoding(),
        "time zone": f"{zone.tzname()} (UTC{zone:%z}), {'/'.join(time.tzname)}",
    }
    pools: dict[str, Any] = {}
    for pool in threadpoolctl.threadpool_info():
        pools[pool["prefix"]] = (
            f"{pool['internal_api']} {pool['version'] or ''} "
            f"{pool.get('architecture', '')}, {pool['num_threads']} threads"
        )
    packages = environment.closure([*environment.RUNTIME, *roots])
    return {
        "System": system,
        "BLAS and thread pools": pools,
        "Python dependencies": {"asfitted": __version__, **packages},
    }


def show_versions(*roots: str) -> None:
    """Print interpreter, system, BLAS and every package that a model would pin.

    Parameters
    ----------
    *roots : str
        Further packages whose closure is wanted, e.g. ``"lightgbm"``.

    Examples
    --------
    >>> show_versions()  # doctest: +ELLIPSIS
    <BLANKLINE>
    System:
    ...
    """
    # pandas and scikit-learn list the thread pools that are loaded by then.
    import numpy  # noqa: F401
    import sklearn  # noqa: F401

    for title, table in versions(*roots).items():
        width = max(map(len, table), default=0)
        sys.stdout.write(f"\n{title}:\n")
        for name, value in table.items():
            sys.stdout.write(f"{name:>{max(width, 14)}}: {value}\n")
