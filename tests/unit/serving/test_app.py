"""What the app does beside scoring: headers, limits, patience, overload, and what is on record."""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
from typing import Any

import pandas as pd
import pytest
from conftest_serving import call

import asfitted
from asfitted.config import Config
from asfitted.errors import CheckFailed
from asfitted.serving import app as module
from asfitted.serving import metrics
from asfitted.serving.app import App
from asfitted.serving.upkeep import Upkeep

ROW = {"id": "k1", "a": 0.25, "c": "x"}


def rows(n: int = 1, **changes: Any) -> dict[str, Any]:
    return {"dataframe_records": [{**ROW, "id": f"k{i}", **changes} for i in range(n)]}


def log(app: App) -> pd.DataFrame:
    recorder = app.model.recorder
    assert recorder is not None
    return asfitted.read_log(recorder.journal.folder)


def refusals(app: App) -> list[str]:
    recorder = app.model.recorder
    assert recorder is not None
    return list(asfitted.read_log(recorder.journal.folder, refused=True)["code"])


def counted(code: str) -> float:
    return metrics.REFUSALS.labels(code)._value.get()


def test_a_request_id_is_taken_returned_and_on_record(app: App) -> None:
    status, headers, _ = asyncio.run(call(app, rows(), x_request_id="order-7"))
    assert (status, headers["x-request-id"]) == (200, "order-7")
    assert list(log(app)["request_id"]) == ["order-7"]


def test_a_request_id_that_is_none_is_made_anew(app: App) -> None:
    _, headers, _ = asyncio.run(call(app, rows(), x_request_id="a b\x01"))
    assert headers["x-request-id"] not in {"", "a b\x01"}


def test_ids_on_demand_are_those_on_record(app: App) -> None:
    _, _, said = asyncio.run(call(app, {**rows(3), "params": {"return_ids": True}}))
    assert said["prediction_ids"] == list(log(app)["prediction_id"])
    assert list(log(app)["params"]) == [{"return_ids": True}] * 3


@pytest.mark.parametrize("kind", ["", "Application/JSON", "application/json ; charset=UTF-8"])
def test_content_types_are_read_by_the_rfc(app: App, kind: str) -> None:
    assert asyncio.run(call(app, rows(), content_type=kind))[0] == 200


def test_gzip_is_read(app: App) -> None:
    body = gzip.compress(json.dumps(rows()).encode())
    plain = asyncio.run(call(app, rows()))
    assert asyncio.run(call(app, body, content_encoding="gzip"))[::2] == plain[::2]


def test_a_body_is_refused_while_it_streams_in(app: App) -> None:
    status, _, said = asyncio.run(call(app, b"[" * 40_000))
    assert (status, said["code"]) == (413, "body_too_large")
    assert refusals(app) == ["body_too_large"]


def test_too_many_rows(app: App) -> None:
    status, _, said = asyncio.run(call(app, rows(51)))
    assert (status, said["code"]) == (413, "too_many_rows")


def test_no_rows_give_no_answers(app: App) -> None:
    status, _, said = asyncio.run(call(app, {"inputs": {"id": [], "a": [], "c": []}}))
    assert (status, said) == (200, {"predictions": []})
    assert app.model.recorder is not None
    assert not app.model.recorder.journal.folder.exists()


@pytest.mark.parametrize("given", ["", "Bearer wrong", "Basic right", "Bearer", "right"])
def test_a_token_is_asked_for(
    model: asfitted.FittedModel, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    monkeypatch.setenv("ASFITTED_TOKEN", "right")

    async def behind(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"\n"})

    app = App(model, behind)
    before = counted("unauthorized")
    for path in ("/invocations", "/metrics", "/contract", "/version", "/openapi.json"):
        status, headers, said = asyncio.run(call(app, rows(), path=path, authorization=given))
        assert (status, said["code"]) == (401, "unauthorized")
        assert headers["www-authenticate"] == "Bearer"
    assert counted("unauthorized") == before + 5
    assert app.model.recorder is not None
    assert not app.model.recorder.journal.folder.exists(), "anyone could fill the disk"
    assert asyncio.run(call(app, method="GET", path="/ping"))[0] == 200
    assert asyncio.run(call(app, rows(), authorization="bearer right"))[0] == 200


def test_a_token_may_be_any_text(
    model: asfitted.FittedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASFITTED_TOKEN", "schlüssel")
    app = App(model, None)
    sent = "schlüssel".encode().decode("latin-1")
    assert asyncio.run(call(app, rows(), authorization=f"Bearer {sent}"))[0] == 200
    assert asyncio.run(call(app, rows(), authorization="Bearer schluessel"))[0] == 401


def test_routes_that_are_not_ours_stay_mlflows(app: App) -> None:
    for method, path in (("GET", "/ping"), ("GET", "/version"), ("OPTIONS", "/invocations")):
        assert asyncio.run(call(app, method=method, path=path))[0] == 299


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH"])
def test_rows_are_sent_by_post(app: App, method: str) -> None:
    before = counted("method_not_allowed")
    status, headers, said = asyncio.run(call(app, method=method))
    assert (status, headers["allow"], said["code"]) == (405, "POST", "method_not_allowed")
    assert refusals(app) == ["method_not_allowed"]
    assert counted("method_not_allowed") == before + 1


def test_a_body_behind_an_upgrade_is_lost_and_that_is_said(app: App) -> None:
    status, _, said = asyncio.run(call(app, b"", upgrade="h2c"))
    assert (status, said["code"]) == (400, "upgrade")
    assert asyncio.run(call(app, rows(), upgrade="h2c"))[0] == 200


def test_a_check_that_fails_is_told_as_it_is_recorded(
    app: App, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def failed(*_: Any) -> Any:
        raise CheckFailed("the check rules:low failed: canary-5157", "rules:low") from ValueError()

    monkeypatch.setattr(app.model, "score", failed)
    status, _, said = asyncio.run(call(app, rows()))
    assert (status, said["code"]) == (500, "check_failed")
    assert refusals(app) == ["check_failed"]
    assert "the check rules:low failed (ValueError)" in caplog.text
    assert "canary" not in caplog.text + json.dumps(said)


def test_what_an_operator_asks(app: App) -> None:
    assert asyncio.run(call(app, method="GET", path="/ready"))[2] == {
        "ready": True,
        "recording": True,
    }
    document = asyncio.run(call(app, method="GET", path="/openapi.json"))[2]
    assert set(document["components"]["schemas"]["Row"]["properties"]) == {"id", "a", "c"}
    text = asyncio.run(call(app, method="GET", path="/contract"))[2]
    assert asfitted.DataContract.from_yaml(text.decode()) == app.model.contract
    given = call(app, method="GET", path="/contract", accept="application/json;q=0.9")
    status, headers, content = asyncio.run(given)
    assert (status, headers["content-type"]) == (200, "application/json")
    # JSON is YAML, so the same reader takes it.
    assert asfitted.DataContract.from_yaml(json.dumps(content)) == app.model.contract
    asyncio.run(call(app, rows(4)))
    scraped = asyncio.run(call(app, method="GET", path="/metrics"))[2].decode()
    assert "asfitted_model_info{" in scraped
    assert f'digest="{"d" * 64}"' in scraped


def test_metrics_hold_the_figures_of_a_log_without_a_sink(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = app.model.recorder
    assert recorder is not None
    monkeypatch.setenv("ASFITTED_LOG", str(recorder.journal.folder))
    app.upkeep = Upkeep(Config(schema_version=1))
    asyncio.run(call(app, rows(4)))
    scraped = asyncio.run(call(app, method="GET", path="/metrics"))[2].decode()
    assert 'asfitted_log_answered_rows{sink=""} 4' in scraped
    assert 'asfitted_log_missing_rows{sink=""} 0' in scraped


def test_a_log_that_cannot_be_written(app: App) -> None:
    recorder = app.model.recorder
    assert recorder is not None
    recorder.journal.folder.parent.mkdir(exist_ok=True)
    recorder.journal.folder.write_text("a file stands in its place")
    status, headers, said = asyncio.run(call(app, rows()))
    assert (status, said["code"]) == (503, "record_failed")
    assert "retry-after" in headers
    assert "predictions" not in said
    assert asyncio.run(call(app, method="GET", path="/ready"))[0] == 503
    recorder.journal.folder.unlink()
    assert asyncio.run(call(app, rows()))[0] == 200
    assert len(log(app)) == 1


class Held:
    """A model whose scoring waits until it is let go."""

    def __init__(self, app: App, monkeypatch: pytest.MonkeyPatch) -> None:
        self.entered, self.go = threading.Event(), threading.Event()
        score = app.model.score

        def held(frame: pd.DataFrame) -> pd.DataFrame:
            self.entered.set()
            assert self.go.wait(30)
            return score(frame)

        monkeypatch.setattr(app.model, "score", held)


def settled(app: App) -> None:
    """Return when the scoring thread has done all that came before."""
    assert asyncio.run(call(app, rows(1, id="last")))[0] == 200


def test_a_request_given_up_on_is_not_on_record_as_answered(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    app.timeout_s = 0.05
    held = Held(app, monkeypatch)
    status, _, said = asyncio.run(call(app, rows(3)))
    assert (status, said["code"]) == (504, "timeout")
    held.go.set()
    app.timeout_s = 60
    settled(app)
    assert [k["id"] for k in log(app)["keys"]] == ["last"]
    assert refusals(app) == ["timeout"]


def test_a_caller_that_goes_away_is_on_record_as_that(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(app, monkeypatch)

    async def scene() -> None:
        gone = asyncio.Event()
        request = asyncio.ensure_future(call(app, rows(3), gone_after=gone))
        await asyncio.to_thread(held.entered.wait, 30)
        gone.set()
        await request

    asyncio.run(scene())
    held.go.set()
    settled(app)
    assert [k["id"] for k in log(app)["keys"]] == ["last"]
    assert refusals(app) == ["client_gone"]


def test_too_many_in_work_hear_it_at_once(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_REQUESTS", 2)
    held = Held(app, monkeypatch)

    async def scene() -> list[int]:
        first = [asyncio.ensure_future(call(app, rows(1, id=f"f{i}"))) for i in range(2)]
        await asyncio.to_thread(held.entered.wait, 30)
        status, headers, said = await call(app, rows())
        assert (status, said["code"], headers["retry-after"]) == (503, "overloaded", "1")
        held.go.set()
        return [(await request)[0] for request in first]

    assert asyncio.run(scene()) == [200, 200]
    assert app.in_work == 0
