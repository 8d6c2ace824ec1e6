"""What waits is scored together, and nobody harms a neighbour."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pandas as pd
import pytest
from conftest_serving import call
from sklearn.utils._openmp_helpers import _openmp_effective_n_threads

import asfitted
from asfitted.serving import batching
from asfitted.serving.app import App
from asfitted.serving.batching import Job
from asfitted.wire import rows as rows_module
from asfitted.wire.rows import Rows

ROWS = [
    {"id": f"k{i}", "a": None if i % 7 == 0 else i / 7 - 3, "c": ["x", "y", None, "new"][i % 4]}
    for i in range(40)
]


def scored_sizes(app: App, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that gets the number of rows of each scoring call from now on."""
    sizes: list[int] = []
    score = app.model.score

    def noted(frame: pd.DataFrame) -> pd.DataFrame:
        sizes.append(len(frame))
        return score(frame)

    monkeypatch.setattr(app.model, "score", noted)
    return sizes


async def together(app: App, bodies: list[Any]) -> list[tuple[int, Any]]:
    """Send all at once, with the scoring thread busy until they all wait."""
    got = await asyncio.gather(*(call(app, body) for body in bodies))
    return [(status, said) for status, _, said in got]


def test_the_same_bits_alone_and_together(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = [asyncio.run(call(app, {"inputs": [row]}))[2]["predictions"][0] for row in ROWS]
    sizes = scored_sizes(app, monkeypatch)
    got = asyncio.run(together(app, [{"inputs": [row]} for row in ROWS]))
    assert [said["predictions"][0] for _, said in got] == alone
    assert len(sizes) < len(ROWS), "nothing was scored together"


def test_callers_that_ask_again_are_scored_together_again(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = scored_sizes(app, monkeypatch)

    async def caller(rows: list[Any], turns: int) -> None:
        for row in rows:
            # As a network would, one comes back a little later than the other.
            for _ in range(turns):
                await asyncio.sleep(0)
            assert (await call(app, {"inputs": [row]}))[0] == 200

    async def callers() -> None:
        await asyncio.gather(*(caller(ROWS[i::8], 60 * i) for i in range(8)))

    asyncio.run(callers())
    assert sum(sizes) == 40
    # The first may be alone; then all eight ask and are answered together.
    assert len(sizes) <= 8, sizes


def test_each_record_is_its_own_row(app: App) -> None:
    got = asyncio.run(together(app, [{"inputs": ROWS[i : i + 5]} for i in range(0, 40, 5)]))
    answers = [one for _, said in got for one in said["predictions"]]
    assert app.model.recorder is not None
    record = asfitted.read_log(app.model.recorder.journal.folder)
    on_record = {
        key["id"]: (given, out)
        for key, given, out in zip(record["keys"], record["inputs"], record["outputs"], strict=True)
    }
    assert len(record) == 40
    for row, answer in zip(ROWS, answers, strict=True):
        assert on_record[row["id"]] == ({"a": row["a"], "c": row["c"]}, answer)


def test_small_rows_wake_no_threads_of_openmp(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    here, threads, score = _openmp_effective_n_threads(), list[int](), app.model.score

    def asked(frame: pd.DataFrame) -> pd.DataFrame:
        threads.append(_openmp_effective_n_threads())
        return score(frame)

    monkeypatch.setattr(app.model, "score", asked)
    assert asyncio.run(call(app, {"instances": ROWS}))[0] == 200
    assert threads == [1]
    assert _openmp_effective_n_threads() == here


def test_a_refusal_harms_no_neighbour(app: App) -> None:
    bodies = [{"inputs": [row]} for row in ROWS]
    bodies[3] = {"inputs": [{**ROWS[3], "a": "text"}]}
    bodies[7] = {"inputs": [{"id": "k7", "b": 1}]}
    got = asyncio.run(together(app, bodies))
    assert [i for i, (status, _) in enumerate(got) if status == 422] == [3, 7]
    assert sum(status == 200 for status, _ in got) == 38


def test_an_exception_is_traced_to_its_request(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    score = app.model.score

    def picky(frame: pd.DataFrame) -> pd.DataFrame:
        if (frame["a"] > 2.5).any():
            raise ZeroDivisionError("the secret of a cell")
        return score(frame)

    monkeypatch.setattr(app.model, "score", picky)
    got = asyncio.run(together(app, [{"inputs": [row]} for row in ROWS]))
    failed = [i for i, (status, _) in enumerate(got) if status == 500]
    assert failed == [i for i, row in enumerate(ROWS) if (row["a"] or 0) > 2.5]
    assert {got[i][1]["code"] for i in failed} == {"internal"}
    assert "secret" not in str([got[i] for i in failed])


def test_a_big_request_is_scored_in_pieces(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = asyncio.run(call(app, {"inputs": ROWS}))[2]
    monkeypatch.setattr(batching, "PIECE_ROWS", 16)
    order = scored_sizes(app, monkeypatch)
    assert asyncio.run(call(app, {"inputs": ROWS}))[2] == whole
    assert order == [16, 16, 8]


def test_a_small_request_goes_before_the_rest_of_a_big_one(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batching, "PIECE_ROWS", 16)
    sizes: list[int] = []
    begun, small_waits = threading.Event(), threading.Event()
    score, submit = app.model.score, app.batcher.submit

    def noted(frame: pd.DataFrame) -> pd.DataFrame:
        sizes.append(len(frame))
        begun.set()
        assert small_waits.wait(30)
        return score(frame)

    def announced(rows: Rows, request_id: str) -> Job:
        job = submit(rows, request_id)
        if rows.n_rows == 1:
            small_waits.set()
        return job

    monkeypatch.setattr(app.model, "score", noted)
    monkeypatch.setattr(app.batcher, "submit", announced)

    async def both() -> None:
        big = asyncio.ensure_future(call(app, {"inputs": ROWS}))
        await asyncio.to_thread(begun.wait, 30)
        assert (await call(app, {"inputs": ROWS[:1]}))[0] == 200
        assert (await big)[0] == 200

    asyncio.run(both())
    assert sizes == [16, 1, 16, 8]


@pytest.mark.parametrize(("bad", "code"), [(20, "contract_violation"), (39, "internal")])
def test_a_big_request_is_refused_whole(
    app: App, monkeypatch: pytest.MonkeyPatch, bad: int, code: str
) -> None:
    monkeypatch.setattr(batching, "PIECE_ROWS", 16)
    score = app.model.score

    def picky(frame: pd.DataFrame) -> pd.DataFrame:
        if (frame["a"] == 77).any():
            raise ZeroDivisionError
        return score(frame)

    monkeypatch.setattr(app.model, "score", picky)
    rows = [dict(row) for row in ROWS]
    rows[bad]["a"] = "text" if code == "contract_violation" else 77
    got = asyncio.run(call(app, {"inputs": rows}))[2]
    assert got["code"] == code
    assert app.model.recorder is not None
    folder = app.model.recorder.journal.folder
    assert len(asfitted.read_log(folder)) == 0
    assert asfitted.read_log(folder, refused=True)["n_rows"].tolist() == [40]
    assert asyncio.run(call(app, {"inputs": ROWS}))[0] == 200


def test_requests_of_other_columns_are_other_tables(app: App) -> None:
    bodies = [{"inputs": [row if i % 2 else {"id": row["id"], "a": row["a"]}]} for i, row in ROWS_]
    got = asyncio.run(together(app, bodies))
    alone = [asyncio.run(call(app, body))[2]["predictions"] for body in bodies]
    assert [said["predictions"] for _, said in got] == alone


ROWS_ = list(enumerate(ROWS))


def test_a_failure_while_recording_leaves_nobody_waiting(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert app.model.recorder is not None

    def broken(batches: Any) -> Any:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(app.model.recorder.journal, "append_all", broken)
        got = asyncio.run(together(app, [{"inputs": [row]} for row in ROWS[:3]]))
    assert [status for status, _ in got] == [500, 500, 500]
    assert asyncio.run(call(app, {"inputs": ROWS[:1]}))[0] == 200


def test_an_exception_while_reading_rows_harms_no_neighbour(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    conform = rows_module.conform_rows

    def picky(contract: Any, columns: Any, n_rows: int) -> Any:
        if "k3" in set(columns["id"]):
            raise ZeroDivisionError
        return conform(contract, columns, n_rows)

    monkeypatch.setattr(rows_module, "conform_rows", picky)
    got = asyncio.run(together(app, [{"inputs": [row]} for row in ROWS]))
    assert [i for i, (status, _) in enumerate(got) if status != 200] == [3]
