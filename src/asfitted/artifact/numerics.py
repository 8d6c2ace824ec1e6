"""What decides the last bits of an answer: processor, BLAS kernel, C library."""

from __future__ import annotations

import platform
from typing import Any

import numpy as np
import threadpoolctl


def fingerprint() -> dict[str, Any]:
    """Return what must be alike for two machines to give the same bits.

    Returns
    -------
    dict
        JSON-able, comparable with ``==``.
    """
    # A BLAS that is not loaded yet is not listed; scipy brings its own.
    import scipy.linalg  # noqa: F401

    blas = sorted(
        f"{pool['prefix']} {pool['version']} {pool.get('architecture', '')}".strip()
        for pool in threadpoolctl.threadpool_info()
        if pool["user_api"] == "blas"
    )
    return {
        "machine": platform.machine(),
        "libc": " ".join(platform.libc_ver()),
        "numpy": np.__version__,
        "simd": _simd(),
        "blas": sorted(set(blas)),
    }


def _simd() -> list[str]:
    """Return the vector extensions that numpy uses on this processor."""
    try:
        config: Any = np.show_config(mode="dicts")
    except TypeError:
        return []
    return sorted((config or {}).get("SIMD Extensions", {}).get("found", []))
