"""The log for other tools: files that pandas reads, and SQL."""

from __future__ import annotations

import csv
import io
import json
import resource
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from asfitted import add_outcomes, read_log
from asfitted.prediction_log import Batch, Journal, uuid7
from asfitted.prediction_log.shipper import Shipper

START = datetime(2026, 11, 24, 10, 30, tzinfo=timezone.utc)
ROWS = [
    {"carrier": "UA", "temp": 1, "note": "a,\"b\"\n", "mixed": 1},
    {"carrier": None, "temp": 2.5, "note": "\ud83d", "mixed": "x"},
    {"carrier": "AA", "temp": 3, "late_column": True, "mixed": [1]},
]  # fmt: skip


def put(folder: Path, rows: list[dict[str, Any]], start: int = 0) -> list[str]:
    with Journal(folder) as journal:
        return [
            journal.append(
                Batch(
                    request_id=f"r-{n}", batch_id=uuid7(),
                    received_at=START + timedelta(minutes=n),
                    scored_at=START + timedelta(minutes=n),
                    model_name="flights", model_version="3", model_digest="", contract_digest="",
                    inputs=[row], outputs=[{"prediction": n}], findings=[[]],
                    keys=[{"flight": n}], params={}, latency_us=7, source="serve",
                )
            )[0]
            for n, row in enumerate(rows, start)
        ]  # fmt: skip


@pytest.fixture
def log(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("ASFITTED_LOG", str(tmp_path / "log"))
    return tmp_path / "log"


def test_features_are_typed_columns_in_parquet(run, log, tmp_path) -> None:
    ids = put(log, ROWS)
    add_outcomes(pd.DataFrame({"prediction_id": ids[:1], "outcome": [1]}))
    target = tmp_path / "out.parquet"
    code, out, _ = run("export", "--output", target, "--features", "--outcomes")
    assert (code, out.split(" of ")[0]) == (0, "3 predictions")
    table = pq.read_table(target)
    types = {name: str(table.schema.field(name).type) for name in table.column_names}
    assert types["scored_at"] == types["outcome_recorded_at"] == "timestamp[us, tz=UTC]"
    assert (types["temp"], types["carrier"], types["late_column"]) == ("double", "string", "bool")
    assert (types["outcome"], types["key.flight"], types["sequence"]) == ("int64",) * 3
    rows = table.to_pylist()
    assert [row["temp"] for row in rows] == [1.0, 2.5, 3.0]
    assert [row["outcome"] for row in rows] == [1, None, None]
    assert [json.loads(row["mixed"]) for row in rows] == [1, "x", [1]]
    assert rows[0]["scored_at"] == START
    assert [row["note"] for row in rows] == [ROWS[0]["note"], "\ufffd", None]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([2**53 + 1, 1], "int64"),
        ([2**63 - 1, -(2**63)], "int64"),
        ([2**53, 0.5], "double"),
        ([2**53 + 1, 0.5], "string"),
        ([2**63, 1], "string"),
        ([10**30, 0.5], "string"),
        ([-(2**63) - 1, "x"], "string"),
    ],
)
def test_whole_numbers_stay_exact_in_parquet(run, log, tmp_path, values, kind) -> None:
    put(log, [{"n": value} for value in values])
    code, _, err = run("export", "--output", tmp_path / "out.parquet", "--features")
    assert (code, err) == (0, "")
    column = pq.read_table(tmp_path / "out.parquet").column("n")
    assert str(column.type) == kind
    read = json.loads if kind == "string" else lambda value: value
    assert [read(value) for value in column.to_pylist()] == values


@pytest.mark.parametrize("outcomes", [[], ["--outcomes"]])
def test_of_nothing_the_columns_are_those_of_the_record(run, log, tmp_path, outcomes) -> None:
    put(log, ROWS)
    nothing = ["--features", "--model", "other", *outcomes]
    for form in ("csv", "parquet"):
        assert run("export", "--output", tmp_path, "--format", form, *nothing)[0] == 0
    names = [*read_log(log, model="other", features=True, outcomes=bool(outcomes)).columns]
    assert list(pd.read_csv(tmp_path / "predictions.csv")) == names
    assert pq.read_schema(tmp_path / "predictions.parquet").names == names


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_records_as_they_are(run, log, tmp_path, form) -> None:
    put(log, ROWS)
    code, _, _ = run(
        "export", "--output", tmp_path, "--format", form, "--until", "2026-11-24T10:32"
    )
    assert code == 0
    path = tmp_path / f"predictions.{form}"
    if form == "jsonl":
        found = [json.loads(line) for line in path.read_text().splitlines()]
        assert [row["inputs"] for row in found] == ROWS[:2]
    else:
        frame = pd.read_csv(path) if form == "csv" else pd.read_parquet(path)
        assert [json.loads(text) for text in frame["inputs"]] == ROWS[:2]
        assert frame["request_id"].tolist() == ["r-0", "r-1"]
    assert [file.name for file in tmp_path.iterdir() if file.name != "log"] == [path.name]


def test_an_output_is_not_replaced_unasked_nor_left_half(run, log, tmp_path) -> None:
    put(log, ROWS[:1])
    target = tmp_path / "out.csv"
    target.write_text("mine")
    code, _, err = run("export", "--output", target)
    assert (code, target.read_text()) == (2, "mine")
    assert "--overwrite" in err
    code, _, err = run(
        "export", "--output", target, "--overwrite", "--sink", "/dev/null/x", "--folder", log
    )
    assert code == 4
    assert target.read_text() == "mine"
    assert {file.name for file in tmp_path.iterdir()} == {"log", "out.csv"}
    assert run("export", "--output", target, "--overwrite")[0] == 0
    assert "mine" not in target.read_text()


def test_a_name_that_ends_in_a_slash_is_a_folder(run, log, tmp_path) -> None:
    put(log, ROWS)
    assert run("export", "--output", f"{tmp_path}/new/", "--format", "csv")[0] == 0
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["predictions.csv"]


def test_the_table_says_what_came_true(run, log, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    ids = put(log, ROWS)
    add_outcomes(pd.DataFrame({"prediction_id": ids[:1], "outcome": ["churned"]}))
    lines = run("query", "--outcomes")[1].splitlines()
    assert lines[1].split()[4:7] == ["answer", "outcome", "inputs"]
    assert [line.split()[5] for line in lines[2:]] == ["churned", "–", "–"]
    assert "outcome" not in run("query")[1]


def test_sql_sees_journals_and_sink_as_one(run, log, tmp_path, monkeypatch) -> None:
    ids = put(log, ROWS[:1])
    url = f"sqlite:///{tmp_path / 'sink.sqlite'}"
    with Shipper(log, url, keep_shipped_s=3600) as shipper:
        shipper.ship()
    monkeypatch.setenv("ASFITTED_SINK", url)
    put(log, ROWS[2:], start=1)
    add_outcomes(pd.DataFrame({"prediction_id": ids, "outcome": [0]}))
    statement = (
        "select p.inputs->>'carrier' as carrier, count(*) as n, any_value(o.outcome) as outcome, "
        "max(scored_at) as at from predictions p left join outcomes o using (prediction_id) "
        "group by 1 order by 1"
    )
    code, out, _ = run("sql", statement, "--json")
    assert code == 0
    assert json.loads(out)["rows"] == [
        {"carrier": "AA", "n": 1, "outcome": None, "at": "2026-11-24T10:31:00.000000Z"},
        {"carrier": "UA", "n": 1, "outcome": "0", "at": "2026-11-24T10:30:00.000000Z"},
    ]
    assert run("sql", "select count(*) as n from predictions", "--csv")[1] == "n\n2\n"
    assert run("sql", "select count(*) as n from predictions")[1].split() == ["n", "2"]


@pytest.mark.parametrize("form", ["--csv", "--json"])
def test_two_columns_of_one_name_are_two_columns(run, log, form) -> None:
    ids = put(log, ROWS[:1])
    add_outcomes(pd.DataFrame({"prediction_id": ids, "outcome": [0]}))
    statement = "select 1 as a, 2 as a, p.source, o.* from predictions p, outcomes o"
    code, out, _ = run("sql", statement, form)
    assert code == 0
    if form == "--json":
        (row,) = json.loads(out)["rows"]
    else:
        (row,) = csv.DictReader(io.StringIO(out))
    assert [str(row[name]) for name in ("a", "a_1", "source")] == ["1", "2", "serve"]
    assert "source_1" in row


def test_sql_prints_what_readers_read(run, log) -> None:
    put(log, ROWS[:1])
    statement = (
        "select 'NaN'::double as a, [1.5, 'Infinity'::double] as b, {'t': scored_at} as c, "
        "true as d from predictions"
    )
    wanted = ["NaN", [1.5, "Infinity"], {"t": "2026-11-24T10:30:00.000000Z"}, True]
    out = run("sql", statement, "--json")[1]
    (row,) = json.loads(out, parse_constant=pytest.fail)["rows"]
    assert list(row.values()) == wanted
    (row,) = csv.DictReader(io.StringIO(run("sql", statement, "--csv")[1]))
    assert [row["a"], *(json.loads(row[name]) for name in "bcd")] == wanted


def test_sql_reads_inputs_whatever_text_one_of_them_has(run, log) -> None:
    put(log, [{"name": "a\ud800b"}, {"name": "\U0001f600"}, {"name": "\\ud800"}])
    code, out, _ = run("sql", "select inputs->>'name' as n from predictions order by 1", "--json")
    assert code == 0
    assert sorted(row["n"] for row in json.loads(out)["rows"]) == sorted(
        ["a\ufffdb", "\U0001f600", "\\ud800"]
    )


def test_sql_shows_moments_that_no_calendar_has(run, log) -> None:
    put(log, ROWS[:1])
    statement = "select scored_at + interval 9000 year as at, 1 as n from predictions"
    code, out, _ = run("sql", statement, "--json")
    assert code == 0
    assert json.loads(out)["rows"] == [{"at": "11026-11-24 10:30:00.000000Z", "n": 1}]


@pytest.mark.parametrize("ending", ["", "\n"])
def test_a_carriage_return_ends_no_line_of_a_csv(run, log, tmp_path, ending) -> None:
    put(log, [{"note": f"a\rb{ending}", "temp": 1.5}, {"note": "c", "temp": None}])
    target = tmp_path / "out.csv"
    assert run("export", "--output", target, "--features")[0] == 0
    texts = [target.read_bytes().decode()]
    texts.append(run("query", "--csv")[1])
    statement = "select inputs->>'note' as note, 1.5 as temp from predictions order by scored_at"
    texts.append(run("sql", statement, "--csv")[1])
    for text in texts:
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
        assert [row["note"] for row in rows] == [f"a\rb{ending}", "c"]
        assert rows[0]["temp"] == "1.5"


@pytest.mark.parametrize(
    "statement",
    [
        "delete from predictions",
        "create table x as select 1",
        "copy predictions to '{folder}/stolen.csv'",
        "select * from read_csv('{folder}/secret.csv')",
        "attach '{folder}/x.duckdb'",
        "set enable_external_access = true",
        "select 1; select 2",
        "selekt",
    ],
)
def test_sql_reads_and_nothing_else(run, log, tmp_path, statement) -> None:
    put(log, ROWS[:1])
    (tmp_path / "secret.csv").write_text("a\nsecret\n")
    code, out, err = run("sql", statement.format(folder=tmp_path))
    assert (code, out) == (2, "")
    assert "secret\n" not in err.replace("secret.csv", "")
    assert {file.name for file in tmp_path.iterdir()} == {"log", "secret.csv"}
    assert run("sql", "select count(*) as n from predictions", "--csv")[1] == "n\n1\n"


def test_sql_without_room_for_its_copy_says_where(log) -> None:
    put(log, ROWS)
    done = subprocess.run(
        [sys.executable, "-m", "asfitted", "log", "sql", "select * from predictions"],
        capture_output=True, text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4_000, 4_000)),
    )  # fmt: skip
    assert done.returncode == 4, done.stderr
    assert "cannot be copied for DuckDB" in done.stderr
    assert "TMPDIR" in done.stderr
    assert "Traceback" not in done.stderr


def test_sql_without_duckdb_says_what_to_install(log) -> None:
    put(log, ROWS[:1])
    script = (
        "import sys; sys.modules['duckdb'] = None\n"
        "from asfitted.cli import main; main(['log', 'sql', 'select 1'])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 2
    assert "pip install 'asfitted[duckdb]'" in done.stderr


def test_a_sink_that_is_down_is_said_loudly_and_by_the_exit_code(run, log, monkeypatch) -> None:
    ids = put(log, ROWS)
    monkeypatch.setenv("ASFITTED_SINK", "postgresql+psycopg://127.0.0.1:1/nothing")
    for arguments in (
        ["query", "--json"], ["tail"], ["show", ids[0]],
        ["sql", "select count(*) as n from predictions"],
    ):  # fmt: skip
        code, out, err = run(*arguments)
        assert code == 4
        assert err.startswith("WARNING: postgresql+psycopg://127.0.0.1:1/nothing: ")
        assert "MISSING" in err
        assert out
    code, out, err = run("query", "--json", "--journals-only")
    assert (code, err, len(json.loads(out)["records"])) == (0, "", 3)
    assert read_log().attrs["incomplete"] is True
    assert len(read_log()) == 3
    assert read_log(log).attrs["incomplete"] is False
