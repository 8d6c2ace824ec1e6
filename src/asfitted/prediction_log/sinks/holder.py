"""Which process holds something, so that another of the same machine knows when it has ended."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def me() -> dict[str, Any]:
    """Return what tells this process from all others; on Linux, what `has_ended` asks for."""
    mark: dict[str, Any] = {"host": socket.gethostname(), "pid": os.getpid()}
    try:
        # A container has process ids of its own, and another start of the machine, too.
        mark["boot"] = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        mark["pids"] = os.stat("/proc/self/ns/pid").st_ino
        mark["started"] = _started(os.getpid())
    except OSError:
        pass
    return mark


def has_ended(holder: Mapping[str, Any]) -> bool:
    """Return whether a process that said `me` is known to have ended.

    Of another machine or container that is not known, and False.
    """
    mine = me()
    if "started" not in mine or any(mine[n] != holder.get(n) for n in ("host", "boot", "pids")):
        return False
    try:
        os.kill(holder["pid"], 0)
        return _started(holder["pid"]) != holder["started"]
    except ProcessLookupError:
        return True
    except OSError:
        # It is there, and somebody else's.
        return False


def _started(pid: int) -> str:
    """Return when a process began, in the kernel's ticks; "" of one that waits to be reaped."""
    state, *fields = (
        Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    )
    return "" if state in "ZX" else fields[18]
