"""`asfitted log ship` and `asfitted log stats`, as an operator calls them."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path

import pytest

from asfitted.cli import main
from asfitted.config import load_config
from asfitted.errors import ConfigError
from asfitted.prediction_log import Batch, Journal, uuid7
from asfitted.prediction_log.place import journal_files


def append(folder: Path, n: int) -> None:
    now = datetime(2026, 1, 1, tzinfo=timezone.utc)
    with Journal(folder) as journal:
        for row in range(n):
            journal.append(
                Batch(
                    request_id=f"r{row}", batch_id=uuid7(), received_at=now, scored_at=now,
                    model_name="flights", model_version="3", model_digest="a",
                    contract_digest="b", inputs=[{"temp": 1.0}], outputs=[{"prediction": 1}],
                    findings=[[]], keys=[{"flight": row}], params={}, latency_us=1,
                    source="serve",
                )
            )  # fmt: skip


def run(capsys, *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        main([*map(str, arguments)])
    out, err = capsys.readouterr()
    return caught.value.code, out, err


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "registry_config.yaml").write_text(
        "schema_version: 1\nlog: {folder: log, sink: 'sqlite:///sink.db', keep_shipped_days: 0}\n"
    )
    append(tmp_path / "log", 5)
    return tmp_path


def test_ship_then_stats_then_query(home, capsys) -> None:
    code, out, _ = run(capsys, "log", "stats", "--json")
    before = json.loads(out)
    assert (code, before["recorded"], before["backlog"], before["stats_version"]) == (0, 5, 5, 1)
    assert before["backlog_s"] > 0
    code, out, _ = run(capsys, "log", "ship")
    assert (code, out) == (0, f"5 rows shipped to sqlite:///{home / 'sink.db'}\n")
    assert journal_files(home / "log") == []
    code, out, _ = run(capsys, "log", "stats", "--json")
    after = json.loads(out)
    assert [after[name] for name in ("recorded", "shipped", "backlog", "lost")] == [5, 5, 0, 0]
    code, out, _ = run(capsys, "log", "query", "--sink", "sqlite:///sink.db", "--json")
    assert code == 0
    assert len(json.loads(out)["records"]) == 5
    append(home / "log", 2)
    both = ("--sink", "sqlite:///sink.db", "--folder", "log", "--json")
    assert len(json.loads(run(capsys, "log", "query", *both)[1])["records"]) == 7


def test_a_damaged_journal_is_told_once_and_not_for_each_table(home, capsys) -> None:
    (home / "log" / "journal-x.sqlite").write_text("no database")
    _, _, err = run(capsys, "log", "stats", "--reconcile", "--sink", f"sqlite:///{home}/sink.db")
    assert err.count("journal-x.sqlite: is not a SQLite file") == 1


def test_a_folder_that_is_not_there_is_made_and_told(home, capsys) -> None:
    code, _, err = run(capsys, "log", "ship", "--folder", home / "typo")
    assert code == 0
    assert f"there is no prediction log in {home / 'typo'} so far" in err
    assert (home / "typo").is_dir()
    _, _, err = run(capsys, "log", "ship")
    assert err == ""


def test_stats_for_a_person_say_what_is_wrong(home, capsys) -> None:
    code, out, _ = run(capsys, "log", "stats")
    assert code == 0
    assert "5 written, 0 shipped; 5 to ship" in out
    bad = f"sqlite:///{home / 'no' / 'where.db'}"
    assert run(capsys, "log", "ship", "--sink", bad)[0] == 4
    out = run(capsys, "log", "stats", "--sink", bad)[1]
    assert "the last 1 calls failed: the sink does not take records: unable to open" in out


def test_figures_for_prometheus(home, capsys) -> None:
    file = home / "asfitted.prom"
    file.write_text("old")
    assert run(capsys, "log", "stats", "--prometheus", file)[:2] == (0, "")
    text = file.read_text()
    values = dict(re.findall(r'^asfitted_log_(\w+)\{sink="[^"]+"\} (\S+)$', text, re.M))
    assert values["recorded_rows"] == values["backlog_rows"] == "5"
    assert values["shipped_rows"] == values["quarantined_rows"] == "0"
    assert text.count("# TYPE") == len(values)
    assert values["answered_rows"] == "5"
    assert values["unrecorded_rows"] == "0"
    assert "last_failed_timestamp_seconds" not in values
    assert sorted(p.name for p in home.iterdir() if "prom" in p.name) == ["asfitted.prom"]
    assert run(capsys, "log", "stats", "--prometheus", home / "no" / "x.prom")[0] == 4


def test_figures_say_when_the_sink_last_failed(home, capsys) -> None:
    bad = f"sqlite:///{home / 'no' / 'where.db'}"
    before = datetime.now(timezone.utc).timestamp()
    assert run(capsys, "log", "ship", "--sink", bad)[0] == 4
    run(capsys, "log", "stats", "--sink", bad, "--prometheus", home / "x.prom")
    text = (home / "x.prom").read_text()
    (at,) = re.findall(r"^asfitted_log_last_failed_\w+{.*} (\S+)$", text, re.M)
    assert before <= float(at) <= datetime.now(timezone.utc).timestamp()


def test_stats_need_no_sink(home, capsys) -> None:
    (home / "registry_config.yaml").write_text("schema_version: 1\nlog: {folder: log}\n")
    code, out, _ = run(capsys, "log", "stats", "--json")
    said = json.loads(out)
    assert (code, said["sink"], said["answered"], said["backlog"]) == (0, None, 5, 0)
    code, out, _ = run(capsys, "log", "stats")
    assert (code, out.splitlines()[0]) == (0, "no sink")
    assert out.splitlines()[1].endswith(": 5 written")
    assert out.splitlines()[2] == "  together: 5 answered, 5 written"
    assert run(capsys, "log", "stats", "--prometheus", home / "x.prom")[0] == 0
    assert 'asfitted_log_answered_rows{sink=""} 5' in (home / "x.prom").read_text()


def test_codes_of_what_cannot_be(home, capsys, monkeypatch) -> None:
    assert run(capsys, "log", "ship", "--sink", "gopher://ann:pw@x/y")[0] == 2
    code, _, err = run(capsys, "log", "ship", "--sink", "postgresql+psycopg://a:pw@127.0.0.1:9/x")
    assert code == 4
    assert "pw" not in err
    (home / "registry_config.yaml").write_text("schema_version: 1\nlog: {folder: log}\n")
    code, _, err = run(capsys, "log", "ship")
    assert code == 2
    assert "no sink is named" in err
    monkeypatch.setenv("ASFITTED_SINK", "sqlite:///from_environment.db")
    assert run(capsys, "log", "ship")[0] == 0
    with closing(sqlite3.connect("from_environment.db")) as connection:
        assert connection.execute("SELECT count(*) FROM predictions").fetchone() == (5,)


@pytest.mark.parametrize(
    "command", [["ship"], ["stats"], ["erase", "--key", "flight=1", "--reason", "12", "--yes"]]
)
def test_a_damaged_state_is_named_and_so_is_the_mend(home, capsys, command) -> None:
    file = home / "log" / "shipping.sqlite"
    file.write_bytes(b"no database" * 1000)
    code, _, err = run(capsys, "log", *command)
    assert code == 4
    assert "shipping.sqlite: file is not a database; move it away" in err
    file.unlink()
    assert run(capsys, "log", *command)[0] == 0


def test_a_newer_sink_is_refused(home, capsys) -> None:
    append(home / "log", 1)
    assert run(capsys, "log", "ship")[0] == 0
    with closing(sqlite3.connect("sink.db")) as connection:
        connection.execute("UPDATE asfitted_alembic_version SET version_num = '9999'")
        connection.commit()
    append(home / "log", 1)
    code, _, err = run(capsys, "log", "ship")
    assert code == 2
    assert "upgrade Asfitted" in err


@pytest.mark.parametrize(
    ("sink", "resolved"),
    [
        ("sqlite:///sink.db", "sqlite:///{home}/sink.db"),
        ("sqlite:////srv/x.db", "sqlite:////srv/x.db"),
        ("parquet/log", "{home}/parquet/log"),
        ("file:///srv/log", "file:///srv/log"),
        ("postgresql+psycopg://db/log", "postgresql+psycopg://db/log"),
    ],
)
def test_a_sink_is_relative_to_the_configuration(home, sink, resolved) -> None:
    file = home / "registry_config.yaml"
    file.write_text(json.dumps({"schema_version": 1, "log": {"sink": sink}}))
    assert load_config(file).log_sink() == resolved.format(home=home)


@pytest.mark.parametrize("sink", ["postgresql://ann:pw@db/log", "postgresql://db/log?password=pw"])
def test_a_password_does_not_belong_into_the_configuration(home, sink) -> None:
    file = home / "registry_config.yaml"
    file.write_text(json.dumps({"schema_version": 1, "log": {"sink": sink}}))
    with pytest.raises(ConfigError, match="PGPASSWORD") as caught:
        load_config(file)
    assert "pw" not in str(caught.value)
