"""Ids that sort by the time of their making: UUID version 7 of RFC 9562."""

from __future__ import annotations

import os
import threading
import time

import numpy as np


class _Clock:
    """Milliseconds and their 4096ths, never the same twice in a process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0

    def ticks(self, n: int) -> range:
        now_ns = time.time_ns()
        # RFC 9562, 6.2, method 3: the 12 bits after the millisecond are its fraction.
        now = (now_ns // 1_000_000 << 12) | (now_ns % 1_000_000 << 12) // 1_000_000
        with self._lock:
            # Within one tick, or when the clock was set back, count on from the last.
            first = max(now, self._last + 1)
            self._last = first + n - 1
            return range(first, first + n)

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
    (tick,) = _clock.ticks(1)
    # Twelve digits of milliseconds and three of their fraction, which is the id's order.
    when = f"{tick:015x}"
    # The first two bits are the variant of RFC 9562.
    rest = f"{int.from_bytes(os.urandom(8), 'big') >> 2 | 1 << 63:016x}"
    return f"{when[:8]}-{when[8:12]}-7{when[12:]}-{rest[:4]}-{rest[4:]}"


def uuid7s(n: int) -> list[str]:
    """Return `n` new ids, in order; see `uuid7`.

    Examples
    --------
    >>> ids = uuid7s(3)
    >>> ids == sorted(set(ids))
    True
    """
    if n == 1:
        return [uuid7()]
    made = _clock.ticks(n)
    ticks = np.arange(made.start, made.stop, dtype="uint64")
    words = np.empty((n, 2), ">u8")
    words[:, 0] = (ticks >> 12 << 16) | 0x7000 | (ticks & 0xFFF)
    words[:, 1] = np.frombuffer(os.urandom(8 * n), "uint64") >> 2 | 1 << 63
    digits = np.frombuffer(words.tobytes().hex().encode(), "uint8").reshape(n, 32)
    text = np.insert(digits, [8, 12, 16, 20], ord("-"), axis=1).tobytes().decode()
    return [text[i : i + 36] for i in range(0, 36 * n, 36)]
