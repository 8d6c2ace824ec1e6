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
    return uuid7s(1)[0]


def uuid7s(n: int) -> list[str]:
    """Return `n` new ids, in order; see `uuid7`.

    Examples
    --------
    >>> ids = uuid7s(3)
    >>> ids == sorted(set(ids))
    True
    """
    randomness = os.urandom(8 * n).hex()
    ids = []
    for i, tick in enumerate(_clock.ticks(n)):
        # Twelve digits of milliseconds and three of their fraction, which is the id's order.
        when, rest = f"{tick:015x}", randomness[16 * i : 16 * i + 16]
        ids.append(
            f"{when[:8]}-{when[8:12]}-7{when[12:]}-{_VARIANT[rest[0]]}{rest[1:4]}-{rest[4:]}"
        )
    return ids


# The first two bits are the variant of RFC 9562, the other two as random as they were.
_VARIANT = {f"{digit:x}": "89ab"[digit & 3] for digit in range(16)}
