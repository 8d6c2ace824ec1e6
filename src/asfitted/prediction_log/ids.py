"""Ids that sort by the time of their making: UUID version 7 of RFC 9562."""

from __future__ import annotations

import os
import threading
import time


class _Clock:
    """Milliseconds and their 4096ths, never the same twice in a process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0

    def tick(self) -> int:
        now_ns = time.time_ns()
        # RFC 9562, 6.2, method 3: the 12 bits after the millisecond are its fraction.
        now = (now_ns // 1_000_000 << 12) | (now_ns % 1_000_000 << 12) // 1_000_000
        with self._lock:
            # Within one tick, or when the clock was set back, count on from the last.
            self._last = max(now, self._last + 1)
            return self._last

    def forget_lock(self) -> None:
        # Another thread of the parent may have held it at the fork.
        self._lock = threading.Lock()


_clock = _Clock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_clock.forget_lock)


def uuid7() -> str:
    """Return a new UUIDv7; in one process each is greater than the one before.

    62 of its bits are random, so ids of different processes differ too.

    Examples
    --------
    >>> first, second = uuid7(), uuid7()
    >>> first < second
    True
    >>> len(first), first[14]
    (36, '7')
    """
    tick = _clock.tick()
    milliseconds, fraction = tick >> 12, tick & 0xFFF
    randomness = int.from_bytes(os.urandom(8), "big") & (1 << 62) - 1
    value = milliseconds << 80 | 0x7 << 76 | fraction << 64 | 0b10 << 62 | randomness
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
