"""A sink whose folder is not mounted, or was moved away, is not an empty one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from log_batches import batch

from asfitted import add_outcomes, read_log
from asfitted.cli import main
from asfitted.errors import ConfigError, StoreUnavailable
from asfitted.prediction_log import Journal
from asfitted.prediction_log.removing import erase
from asfitted.prediction_log.shipper import Shipper
from asfitted.prediction_log.whole import Place

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys) -> Run:
    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main(list(map(str, arguments)))
        return int(caught.value.code or 0), *capsys.readouterr()

    return run


@pytest.fixture(params=["sqlite", "parquet", "mount"])
def gone(request, tmp_path, monkeypatch) -> Path:
    """The log of a record that is only in the sink and one that is only in a journal.

    What the sink lies in was moved away; of a mount its empty folder is left.
    """
    names = {"sqlite": "sqlite:///nas/sink.sqlite", "parquet": "nas/sink", "mount": "nas"}
    monkeypatch.chdir(tmp_path)
    Path("registry_config.yaml").write_text(
        "schema_version: 1\n"
        f"log: {{folder: log, sink: '{names[request.param]}', keep_shipped_days: 0}}\n"
    )
    Path("nas").mkdir()
    put("shipped")
    with Shipper("log", names[request.param], keep_shipped_s=0) as shipper:
        assert shipper.ship() == 1
    Path("nas").rename("away")
    if request.param != "parquet":
        Path("nas").mkdir()
    put("new")
    Path("arrived.csv").write_text("flight,outcome\nshipped,1\n")
    return tmp_path


def put(name: str) -> None:
    with Journal("log") as journal:
        journal.append(batch(1, request_id=name, keys=[{"flight": name}]))


def requests_in(folder: Path) -> list[str]:
    return list(read_log(folder / "log")["request_id"])


def requests(out: str) -> list[str]:
    return [record["request_id"] for record in json.loads(out)["records"]]


def test_what_only_it_holds_is_said_to_be_missing(gone, run) -> None:
    code, out, err = run("log", "query", "--json")
    assert (code, requests(out)) == (4, ["new"])
    assert "the sink is not there, and 1 rows were shipped to it" in err
    assert read_log().attrs["incomplete"]
    code, out, err = run("log", "sql", "select count(*) as n from predictions", "--csv")
    assert (code, out) == (4, "n\n1\n")
    assert "MISSING" in err


@pytest.mark.parametrize(
    "command",
    [
        ("log", "erase", "--key", "flight=shipped", "--reason", "12", "--yes"),
        ("log", "prune", "--older-than", "1d", "--yes"),
        ("log", "export", "--output", "out.csv"),
        ("log", "stats", "--reconcile"),
        ("log", "ship"),
        ("outcome", "add", "arrived.csv", "--key", "flight"),
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_nothing_is_done_without_it(gone, run, command) -> None:
    code, _, err = run(*command)
    assert code == 4
    assert "the sink is not there" in err
    # Nobody has made another in its place.
    assert not Path("nas").exists() or list(Path("nas").iterdir()) == []
    # It is moved back, and everything goes on.
    if Path("nas").exists():
        Path("nas").rmdir()
    Path("away").rename("nas")
    assert requests(run("log", "query", "--json")[1]) == ["shipped", "new"]
    assert run(*command)[0] == 0


@pytest.mark.parametrize("sink", ["nowhere", "sqlite:///nowhere.sqlite", "file:///no/where"])
def test_alone_it_has_to_be_there(tmp_path, monkeypatch, run, sink) -> None:
    monkeypatch.chdir(tmp_path)
    put("new")
    for command in (("query",), ("removals",), ("export", "--output", "out.csv")):
        code, _, err = run("log", *command, "--sink", sink)
        assert code == 2
        assert "there is no such sink" in err
    with pytest.raises(ConfigError, match="there is no such sink"):
        read_log(sink=sink)
    Path("arrived.csv").write_text("flight,outcome\nnew,1\n")
    with pytest.raises(ConfigError, match="there is no such sink"):
        add_outcomes("arrived.csv", keys="flight", sink=sink)


def test_files_to_merge_have_to_be_there(tmp_path, run) -> None:
    code, _, err = run("log", "compact", "--sink", tmp_path / "nowhere")
    assert code == 2
    assert "there is no such sink" in err


@pytest.mark.parametrize("sink", ["sink", "sqlite:///sink.sqlite"])
def test_one_that_nothing_was_shipped_to_is_empty(tmp_path, monkeypatch, run, sink) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ASFITTED_SINK", sink)
    monkeypatch.setenv("ASFITTED_LOG", "log")
    put("new")
    code, out, _ = run("log", "query", "--json")
    assert (code, requests(out)) == (0, ["new"])
    (tmp_path / "arrived.csv").write_text("flight,outcome\nnew,1\n")
    assert run("outcome", "add", "arrived.csv", "--key", "flight")[0] == 0
    assert run("log", "erase", "--key", "flight=new", "--reason", "12", "--yes")[0] == 0
    assert run("log", "ship")[0] == 0


def test_what_was_shipped_elsewhere_does_not_count(gone) -> None:
    other = str(gone / "other")
    erased = erase(Place(gone / "log", other), {"flight": "new"}, reason="12")
    assert erased.counts == {"predictions": 1}


def test_progress_that_cannot_be_read_is_no_leave(gone) -> None:
    (gone / "log" / "shipping.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(StoreUnavailable, match="what was shipped to it is not known"):
        erase(Place(gone / "log", str(gone / "nowhere")), {"flight": "new"}, reason="12")
    assert requests_in(gone) == ["new"]
