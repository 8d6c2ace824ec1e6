"""Callers of a server that know what they were told, and what must be on record of it."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import random
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from conftest import Row, Server, Site

PATIENCE_S = 90


class Callers:
    """Threads that ask on and on, each row under a key of its own, and note what they were told."""

    def __init__(self, site: Site, server: Server, threads: int = 6) -> None:
        self.site, self.server = site, server
        self.sent: dict[str, Row] = {}
        self.told: dict[str, str] = {}
        self.statuses: Counter[int] = Counter()
        self._numbers, self._stop = itertools.count(), threading.Event()
        self._threads = [threading.Thread(target=self._ask_on) for _ in range(threads)]

    def __enter__(self) -> Callers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(PATIENCE_S)

    def wait_for_more(self, answers: int) -> None:
        enough, end = len(self.told) + answers, time.monotonic() + PATIENCE_S
        while len(self.told) < enough:
            assert time.monotonic() < end, "no answers any more"
            time.sleep(0.01)

    def _ask_on(self) -> None:
        while not self._stop.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
            with contextlib.closing(connection):
                try:
                    for _ in range(5):
                        self._ask(connection)
                except (OSError, http.client.HTTPException):
                    self._stop.wait(0.02)

    def _ask(self, connection: http.client.HTTPConnection) -> None:
        numbers = [next(self._numbers) for _ in range(random.randint(1, 3))]
        rows = [self.site.rows[n % 600] | {"order": f"order-{n}"} for n in numbers]
        self.sent |= {row["order"]: row for row in rows}
        body = {"dataframe_records": rows, "params": {"return_ids": True}}
        connection.request(
            "POST", "/invocations", json.dumps(body), {"content-type": "application/json"}
        )
        response = connection.getresponse()
        answer = json.loads(response.read())
        self.statuses[response.status] += 1
        if response.status == 200:
            ids = answer["prediction_ids"]
            self.told |= {row["order"]: i for row, i in zip(rows, ids, strict=True)}

    def assert_on_record(self, found: list[dict[str, Any]]) -> None:
        """Each answered row once, under its id and as it was sent; no other row twice or torn."""
        times = Counter(record["prediction_id"] for record in found)
        assert set(times.values()) == {1}
        of_order = {record["keys"]["order"]: record for record in found}
        assert len(of_order) == len(found)
        for order, prediction_id in self.told.items():
            assert of_order[order]["prediction_id"] == prediction_id
        for order, record in of_order.items():
            row = self.sent[order]
            assert [(record["inputs"], record["keys"])] == self.site.put_on_record([row])
            expected = self.site.expected[int(order.removeprefix("order-")) % 600]
            assert self.site.bits([record["outputs"]]) == self.site.bits([expected])
