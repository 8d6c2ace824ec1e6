from __future__ import annotations

import threading
import time
import uuid

from asfitted.prediction_log import ids
from asfitted.prediction_log.ids import uuid7


def test_an_id_is_a_uuid_of_version_7_with_the_time_in_front() -> None:
    before = time.time_ns() // 1_000_000
    parsed = uuid.UUID(uuid7())
    after = time.time_ns() // 1_000_000
    assert parsed.version == 7
    assert parsed.variant == uuid.RFC_4122
    # The clock runs ahead by at most the ids made within one tick.
    assert before <= parsed.int >> 80 <= after + 1000


def test_ids_of_many_threads_are_all_different_and_ascend_in_each() -> None:
    made: list[list[str]] = [[] for _ in range(8)]

    def make(mine: list[str]) -> None:
        mine.extend(uuid7() for _ in range(2000))

    threads = [threading.Thread(target=make, args=(mine,)) for mine in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(mine == sorted(mine) for mine in made)
    assert len({each for mine in made for each in mine}) == 16_000


def test_ids_ascend_when_the_clock_is_set_back(monkeypatch) -> None:
    first = uuid7()
    now = time.time_ns()
    monkeypatch.setattr(ids.time, "time_ns", lambda: now - 3_600_000_000_000)
    assert first < uuid7() < uuid7()
