from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from asfitted.cli import main
from asfitted.errors import Violation
from asfitted.prediction_log import Batch, FieldPolicy, Journal, uuid7

START = datetime(2026, 11, 24, 10, 30, tzinfo=timezone.utc)


def put_on_record(
    journal: Journal,
    n: int,
    *,
    policy: FieldPolicy = FieldPolicy(),  # noqa: B008
    **more: object,
) -> list[str]:
    late = n % 2
    inputs = {"carrier": "UA", "origin": "EWR", "temp": 39.02 + n, "note": "[red]a,b\n", **more}
    return journal.append(
        Batch(
            request_id=f"request-{n}",
            batch_id=uuid7(),
            received_at=START + timedelta(minutes=n),
            scored_at=START + timedelta(minutes=n, microseconds=7001),
            model_name="flights",
            model_version=str(3 + late),
            model_digest="sha256:" + "ab" * 32,
            contract_digest="sha256:" + "cd" * 32,
            inputs=[policy.apply(inputs)],
            outputs=[{"prediction": late, "probability_0": 0.8, "probability_1": 0.2}],
            findings=[[{"column": "temp", "rule": "filled"}] if late else []],
            keys=[policy.apply({"flight": 100 + n})],
            params={"threshold": 0.5},
            latency_us=7001,
            source="serve",
        )
    )


@pytest.fixture
def log(tmp_path) -> Path:
    with Journal(tmp_path / "log") as journal:
        for n in range(12):
            put_on_record(journal, n)
        journal.append_refusal(
            request_id="bad",
            received_at=START,
            model_name="flights",
            model_version="3",
            model_digest="",
            code="contract_violation",
            n_rows=5,
            violations=[Violation("temp", "max", "too hot", (1, 2), 5)],
            source="serve",
        )
    return tmp_path / "log"


@pytest.fixture
def run(capsys, monkeypatch):
    """Call the command line; give its exit code, stdout and stderr."""

    def run(*arguments: object, width: int = 120) -> tuple[int, str, str]:
        monkeypatch.setenv("COLUMNS", str(width))
        with pytest.raises(SystemExit) as caught:
            main(["log", *map(str, arguments)])
        out, err = capsys.readouterr()
        return int(caught.value.code or 0), out, err

    return run


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_the_table_fits_the_terminal_and_says_what_matters(run, log, width) -> None:
    code, out, err = run("tail", "-n", 4, "--folder", log, width=width)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert max(map(len, lines)) <= width
    assert lines[0] == "2026-11-24, times in UTC"
    assert lines[1].split()[:5] == ["time", "model", "id", "flight", "answer"]
    assert [line[:8] for line in lines[2:] if line[0] != " "] == [
        f"10:{n}:00" for n in range(38, 42)
    ]
    assert re.match(r"10:41:00  flights/4  [0-9a-f]{12}  111 +1 \(p 0\.200\)", lines[-2])
    assert lines[-1] == "    temp missing, filled"
    assert "carrier=UA" in out
    if width == 200:
        assert "temp=50.02 note=[red]a,b⏎" in out


def test_query_filters_and_prints_oldest_first(run, log) -> None:
    arguments = ["--version", 4, "--since", "2026-11-24T10:35", "--until", "2026-11-24T10:40"]
    _, out, _ = run("query", "--folder", log, "--json", *arguments)
    records = json.loads(out)["records"]
    assert [record["request_id"] for record in records] == ["request-5", "request-7", "request-9"]
    for more in (
        ["--key", "flight=105"],
        ["--request", "request-5"],
        ["--limit", 1, "--key", "flight=105"],
    ):
        _, out, _ = run("query", "--folder", log, "--json", *more)
        assert [r["request_id"] for r in json.loads(out)["records"]] == ["request-5"]
    filled = ["--finding", "filled=temp", "--limit", 2]
    _, out, _ = run("query", "--folder", log, "--json", *filled)
    assert [r["request_id"] for r in json.loads(out)["records"]] == ["request-9", "request-11"]
    _, out, _ = run("query", "--folder", log, "--json", "--limit", 2, "--source", "serve")
    assert [r["request_id"] for r in json.loads(out)["records"]] == ["request-10", "request-11"]


def test_json_is_one_object_with_a_version_and_exact_values(run, log) -> None:
    code, out, _ = run("query", "--folder", log, "--json", "--request", "request-0")
    whole = json.loads(out)
    assert (code, whole["schema_version"], len(whole["records"])) == (0, 1, 1)
    record = whole["records"][0]
    assert record["scored_at"] == "2026-11-24T10:30:00.007001Z"
    assert record["inputs"] == {
        "carrier": "UA",
        "origin": "EWR",
        "temp": 39.02,
        "note": "[red]a,b\n",
    }


def test_csv_has_a_column_per_feature(run, log) -> None:
    _, out, _ = run("query", "--folder", log, "--csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert len(rows) == 12
    assert rows[1]["temp"] == "40.02"
    assert rows[1]["note"] == "[red]a,b\n"
    assert rows[1]["key.flight"] == "101"
    assert rows[1]["output.probability_1"] == "0.2"
    assert json.loads(rows[1]["findings"]) == [{"column": "temp", "rule": "filled"}]


def test_hashes_leave_room_for_the_inputs(run, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("ASFITTED_HASH_KEY", "a key")
    monkeypatch.delenv("COLUMNS", raising=False)
    with Journal(tmp_path) as journal:
        put_on_record(journal, 0, policy=FieldPolicy({"flight": "hash", "carrier": "hash"}))
    _, out, _ = run("query", "--folder", tmp_path)
    assert re.search(r" hmac-sha256:[0-9a-f]{8}… .* carrier=hmac-sha256:[0-9a-f]{8}… ori", out)
    monkeypatch.delenv("ASFITTED_HASH_KEY")
    code, _, err = run("query", "--folder", tmp_path, "--key", "flight=7")
    assert code == 2
    assert "what is asked for is hashed on record, and there is no key for it" in err


def test_a_column_with_a_comma_in_its_name_stands_in_quotes(run, tmp_path) -> None:
    with Journal(tmp_path) as journal:
        put_on_record(journal, 0, **{"a, b": 1.5})
    chosen = 'key.flight, "a, b"'
    _, out, _ = run("query", "--folder", tmp_path, "--csv", "--columns", chosen)
    assert out == 'key.flight,"a, b"\n100,1.5\n'


@pytest.mark.parametrize("form", ["--csv", "--table", "--json"])
def test_columns_can_be_chosen(run, log, form) -> None:
    _, out, _ = run("query", "--folder", log, form, "--limit", 1, "--columns", "key.flight,temp")
    if form == "--json":
        assert json.loads(out)["records"] == [{"key.flight": 111, "temp": 50.02}]
    else:
        assert out.replace(",", " ").split() == ["key.flight", "temp", "111", "50.02"]


def test_a_column_that_is_not_there_is_refused_with_those_that_are(run, log) -> None:
    code, out, err = run("query", "--folder", log, "--columns", "tmep")
    assert (code, out) == (2, "")
    assert "no column 'tmep'" in err
    assert "temp" in err


def test_a_long_table_is_cut_and_says_so(run, tmp_path) -> None:
    with Journal(tmp_path) as journal:
        for n in range(101):
            put_on_record(journal, n)
    _, out, err = run("query", "--folder", tmp_path)
    assert "100 newest are shown" in err
    assert len([line for line in out.splitlines() if "flights/" in line]) == 100
    _, out, err = run("query", "--folder", tmp_path, "--csv")
    assert (len(list(csv.DictReader(io.StringIO(out)))), err) == (101, "")


def test_refused_requests_are_listed_by_code_and_rule(run, log) -> None:
    _, out, _ = run("query", "--refused", "--folder", log, width=80)
    assert "contract_violation  5" in out
    assert "temp: max (2 rows)" in out
    for code, count in (("contract_violation", 1), ("no_payload", 0)):
        _, out, _ = run("query", "--refused", "--code", code, "--folder", log, "--json")
        assert [r["code"] for r in json.loads(out)["records"]] == [code] * count
    code, _, err = run("query", "--code", "contract_violation", "--folder", log)
    assert code == 2
    assert "--refused" in err


def test_show_prints_one_record_in_full(run, log) -> None:
    _, out, _ = run("query", "--folder", log, "--json", "--request", "request-1")
    wanted = json.loads(out)["records"][0]
    for spelled in (wanted["prediction_id"], wanted["prediction_id"][-12:]):
        code, out, _ = run("show", spelled, "--folder", log)
        assert code == 0
        for said in (wanted["prediction_id"], wanted["model_digest"], "2026-11-24 10:31:00.007001"):
            assert said in out
        assert 'carrier  "UA"' in out
        assert "temp missing, filled" in out
        assert "threshold  0.5" in out
    _, out, _ = run("show", wanted["prediction_id"], "--folder", log, "--json")
    nothing = dict.fromkeys(["outcome", "outcome_observed_at", "outcome_recorded_at"])
    assert json.loads(out)["records"] == [{**wanted, **nothing}]


def test_an_unknown_id_says_where_it_was_looked_for(run, log) -> None:
    code, out, err = run("show", "0" * 12, "--folder", log)
    assert (code, out) == (2, "")
    assert str(log) in err


@pytest.mark.parametrize("command", ["tail", "query"])
def test_an_empty_log_is_no_error_and_a_missing_one_is(run, tmp_path, command) -> None:
    code, out, err = run(command, "--folder", tmp_path)
    assert (code, out) == (0, "")
    assert f"where: {tmp_path} holds no journal" in err
    code, out, _ = run(command, "--folder", tmp_path, "--json")
    assert (code, json.loads(out)) == (0, {"schema_version": 1, "records": []})
    code, out, err = run(command, "--folder", tmp_path / "nowhere")
    assert (code, out) == (2, "")
    assert str(tmp_path / "nowhere") in err
    assert "mend:" in err


def test_no_match_is_told_from_no_log(run, log) -> None:
    code, out, err = run("query", "--folder", log, "--model", "other")
    assert (code, out) == (0, "")
    assert "No predictions on record match" in err


@pytest.mark.parametrize(
    "command",
    [["query", "--json"], ["tail"], ["erase", "--reason", "r", "--yes"]],
)
def test_a_key_that_no_record_has_is_named_with_those_there_are(run, log, command) -> None:
    code, _, err = run(*command, "--folder", log, "--key", "flight=7", "--key", "fligth=7")
    assert code == 0
    assert err.endswith("No record has a key 'fligth'.\n  mend:  there are flight\n")
    code, _, err = run(*command, "--folder", log, "--key", "flight=7")
    assert code == 0
    assert "has a key" not in err
    # It may be in what cannot be read.
    (log / "journal-x.sqlite").write_text("no SQLite " * 200)
    _, _, err = run(*command, "--folder", log, "--key", "fligth=7")
    assert "journal-x.sqlite" in err
    assert "has a key" not in err


def test_a_key_whose_name_holds_an_equals_sign_stands_in_quotes(run, log, tmp_path) -> None:
    with Journal(log) as journal:
        batch = dict.fromkeys(("request_id", "batch_id", "model_digest", "contract_digest"), "x")
        for value in ("c", "=d"):
            journal.append(
                Batch(
                    **batch, received_at=START, scored_at=START, model_name="m", model_version="",
                    inputs=[{}], outputs=[{"prediction": 1}], findings=[[]],
                    keys=[{'a="b': value}], params={}, latency_us=1, source="batch",
                )
            )  # fmt: skip
    for value in ("c", "=d"):
        _, out, _ = run("query", "--folder", log, "--json", "--key", f'"a=""b"={value}')
        assert [each["keys"] for each in json.loads(out)["records"]] == [{'a="b': value}]
    erase = ["erase", "--folder", log, "--reason", "r", "--yes", "--json"]
    code, out, _ = run(*erase, "--key", '"a=""b"=c')
    assert code == 0
    assert json.loads(out)["counts"]["predictions"] == 1


@pytest.mark.parametrize("command", [["query"], ["erase", "--reason", "r", "--yes"]])
def test_two_values_of_a_key_are_not_taken_for_the_last(run, log, command) -> None:
    code, out, err = run(*command, "--folder", log, "--key", "flight=105", "--key", "flight=106")
    assert (code, out) == (2, "")
    assert "--key flight stands there twice: ask once for each value" in err


@pytest.mark.parametrize(
    "arguments",
    [
        ["query", "--key", "flight"],
        ["query", "--key", "flight=101", "--key", "flight=102"],
        ["erase", "--key", "flight=101", "--key", "flight=102", "--reason", "r", "--yes"],
        ["query", "--since", "yesterday"],
        ["query", "--refused", "--key", "a=1"],
        ["query", "--source", "browser"],
        ["query", "--id", "abc"],
        ["tail", "--follow", "--csv"],
    ],
)
def test_a_wrong_question_is_a_usage_error(run, log, arguments) -> None:
    code, out, err = run(*arguments, "--folder", log)
    assert (code, out) == (2, "")
    assert err


def test_a_file_that_cannot_be_read_is_named_on_stderr(run, log) -> None:
    (log / "journal-x.sqlite").write_text("no SQLite " * 200)
    code, out, err = run("query", "--folder", log, "--json")
    assert code == 0
    assert len(json.loads(out)["records"]) == 12
    assert "warning:" in err
    assert "journal-x.sqlite" in err


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT")
@pytest.mark.parametrize("form", ["--json", "--table"])
def test_follow_prints_what_comes_until_interrupted(log, form) -> None:
    command = [sys.executable, "-m", "asfitted", "log", "tail", "-f", "-n", "2", form]
    process = subprocess.Popen(
        [*command, "--folder", str(log)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": "120", "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None

    def next_flight() -> int:
        for line in process.stdout:
            if form == "--json":
                return int(json.loads(line)["record"]["keys"]["flight"])
            match = re.match(r"2026-11-24 10:\d\d:00  flights/. +[0-9a-f]{12}  (\d+)", line)
            if match:
                return int(match.group(1))
        raise AssertionError("it ended")

    with process, Journal(log) as journal:
        assert [next_flight(), next_flight()] == [110, 111]
        for n in (12, 13):
            put_on_record(journal, n)
            assert next_flight() == 100 + n
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0
