"""One row, one answer: the same bits through every door, and each of them on record."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

import asfitted

if TYPE_CHECKING:
    from conftest import Row, Serve, Server, Site

pytestmark = [
    pytest.mark.e2e,
    # MLflow asks SQLAlchemy for what the newest deprecates.
    pytest.mark.filterwarnings(r"ignore::DeprecationWarning:mlflow\..*"),
]

# One server, one worker of xdist.
served = pytest.mark.xdist_group("doors")

N_ROWS = 100
SHAPES = ("dataframe_split", "dataframe_records", "inputs", "instances")
CONTENT_TYPES = {"csv": "text/csv", "parquet": "application/vnd.apache.parquet"}
FORMS = (*SHAPES, *CONTENT_TYPES)
# Row 3 misses everything that may miss; the others miss one thing or another.
ALONE = (0, 1, 2, 3, 4, 9, 11, 23)

# Prints the answers for the whole frame, then for each of some rows alone.
IN_PROCESS = """
import json, sys
import pandas as pd
rows = pd.read_parquet(sys.argv[2]).iloc[: int(sys.argv[3])]
{load}
alone = [model.predict(rows.iloc[[i]]).to_dict("records")[0] for i in json.loads(sys.argv[4])]
print("\\n" + json.dumps([model.predict(rows).to_dict("records"), alone]))
"""
LOADERS = {
    "asfitted": "import asfitted; model = asfitted.load_model(sys.argv[1])",
    "pyfunc": "import mlflow; model = mlflow.pyfunc.load_model(sys.argv[1])",
}


@pytest.fixture(scope="module")
def server(site: Site, serve_for_module: Serve, tmp_path_factory: pytest.TempPathFactory) -> Server:
    return serve_for_module(tmp_path_factory.mktemp("doors"))


def assert_on_record(
    site: Site, log: Path, source: str, rows: list[Row], answers: list[Row]
) -> pd.DataFrame:
    """The log holds exactly these rows, as they were sent, with these answers."""
    found = asfitted.read_log(log)
    assert set(found["source"]) == {source}
    assert set(found["model_name"]) == {"shop"}
    assert set(found["model_version"]) == {"1"}
    assert found["model_digest"].str.len().eq(64).all()
    assert found["prediction_id"].is_unique
    on_record = list(zip(found["inputs"], found["keys"], strict=True))
    sent = site.put_on_record(rows)
    # Compared as JSON: to Python, 1 and 1.0 and True are equal.
    assert sorted(map(json.dumps, on_record)) == sorted(map(json.dumps, sent))
    by_order: dict[str, list[Row]] = {}
    for keys, outputs in zip(found["keys"], found["outputs"], strict=True):
        by_order.setdefault(keys["order"], []).append(outputs)
    for row, answer in zip(rows, answers, strict=True):
        for outputs in by_order[row["order"]]:
            assert site.bits([outputs]) == site.bits([answer])
    return found


@pytest.mark.parametrize("door", LOADERS)
def test_in_process(site: Site, tmp_path: Path, door: str) -> None:
    script = tmp_path / "answer.py"
    script.write_text(IN_PROCESS.format(load=LOADERS[door]))
    file = site.folder / "rows.parquet"
    arguments = [site.model_uri, str(file), str(N_ROWS), json.dumps(ALONE)]
    done = site.run(tmp_path, str(script), *arguments)
    together, alone = json.loads(done.stdout.splitlines()[-1])
    assert site.bits(together) == site.bits(site.expected[:N_ROWS])
    assert site.bits(alone) == site.bits([site.expected[i] for i in ALONE])
    rows = [site.rows[i] for i in ALONE] + site.rows[:N_ROWS]
    assert_on_record(site, tmp_path / "log", "inprocess", rows, alone + together)


def fresh(rows: list[Row], name: str) -> list[Row]:
    """The same rows under keys that no other test uses."""
    return [row | {"order": f"{name}-{row['order']}"} for row in rows]


def records_of(log: Path, prefix: str) -> list[dict[str, Any]]:
    found = asfitted.read_log(log)
    mine = found["keys"].map(lambda keys: keys["order"].startswith(prefix))
    return found[mine].to_dict("records")


def ask(site: Site, server: Server, form: str, rows: list[Row], folder: Path) -> tuple[int, Any]:
    if form in SHAPES:
        return server.ask(site.payload(form, rows))
    file = folder / f"{rows[0]['order']}.{form}"
    if form == "csv":
        site.as_csv(file, rows)
    else:
        site.as_parquet(file, rows)
    return server.ask(file.read_bytes(), content_type=CONTENT_TYPES[form])


@served
@pytest.mark.parametrize("form", FORMS)
def test_served_together(site: Site, server: Server, tmp_path: Path, form: str) -> None:
    rows = fresh(site.rows[:N_ROWS], f"together-{form}")
    status, answers = ask(site, server, form, rows, tmp_path)
    # Before anything else: what was answered is there already.
    on_record = records_of(server.log, f"together-{form}-")
    assert status == 200, answers
    assert site.bits(answers) == site.bits(site.expected[:N_ROWS])
    assert_served(site, on_record, rows)
    assert [record["row"] for record in on_record] == list(range(N_ROWS))


@served
@pytest.mark.parametrize("form", FORMS)
def test_served_alone(site: Site, server: Server, tmp_path: Path, form: str) -> None:
    rows = fresh([site.rows[i] for i in ALONE], f"alone-{form}")
    for row, i in zip(rows, ALONE, strict=True):
        status, answers = ask(site, server, form, [row], tmp_path)
        on_record = records_of(server.log, row["order"])
        assert status == 200, answers
        assert site.bits(answers) == site.bits([site.expected[i]])
        assert_served(site, on_record, [row])


def assert_served(site: Site, on_record: list[dict[str, Any]], rows: list[Row]) -> None:
    assert {record["source"] for record in on_record} == {"serve"}
    assert {(r["model_name"], r["model_version"]) for r in on_record} == {("shop", "1")}
    given = [json.dumps([record["inputs"], record["keys"]]) for record in on_record]
    assert given == [json.dumps(list(pair)) for pair in site.put_on_record(rows)]
    positions = [int(row["order"].rpartition("-")[2]) for row in rows]
    outputs = [record["outputs"] for record in on_record]
    assert site.bits(outputs) == site.bits([site.expected[i] for i in positions])


@served
def test_small_batches_in_any_company(site: Site, server: Server) -> None:
    for size, start in ((2, 3), (7, 40), (33, 60), (64, 5), (65, 30)):
        positions = [(start + 17 * i) % 600 for i in range(size)]
        rows = fresh([site.rows[i] for i in positions], f"size-{size}")
        status, answers = server.ask(site.payload("dataframe_split", rows))
        assert status == 200, answers
        assert site.bits(answers) == site.bits([site.expected[i] for i in positions])


@served
def test_a_column_that_is_absent_is_missing(site: Site, server: Server) -> None:
    (row,) = fresh([site.rows[3]], "absent")
    given = {name: value for name, value in row.items() if value is not None}
    assert given.keys() == {"order", "shop", "price"}
    for shape in SHAPES:
        status, answers = server.ask(site.payload(shape, [given]))
        assert status == 200, answers
        assert site.bits(answers) == site.bits([site.expected[3]])
    on_record = records_of(server.log, "absent-")
    assert [record["inputs"] for record in on_record] == [site.put_on_record([row])[0][0]] * 4


def example_of(site: Site) -> tuple[Path, list[Row]]:
    """Return the model's input example for servers, and what golden examples answer."""
    golden = pd.read_parquet(site.artifact / "golden.parquet")
    answers = golden.loc[:4, golden.columns.str.startswith("output.")]
    return site.artifact / "serving_input_example.json", answers.rename(
        columns=lambda name: name.removeprefix("output.")
    ).to_dict("records")


@served
def test_the_input_example_is_answered_as_the_golden_examples(site: Site, server: Server) -> None:
    file, expected = example_of(site)
    status, answers = server.ask(file.read_bytes())
    assert status == 200, answers
    assert len(answers) == 5
    assert site.bits(answers) == site.bits(expected)


def test_mlflow_models_predict_with_the_input_example(site: Site, tmp_path: Path) -> None:
    file, expected = example_of(site)
    command = ["-m", "mlflow", "models", "predict", "-m", site.model_uri, "--env-manager", "local"]
    site.run(tmp_path, *command, "-i", str(file), "-o", "out.json")
    answers = json.loads((tmp_path / "out.json").read_text())["predictions"]
    assert site.bits(answers) == site.bits(expected)


@served
def test_rows_at_the_same_time(site: Site, server: Server) -> None:
    """What others send at the same moment does not change an answer either."""
    rows = fresh(site.rows[:N_ROWS], "crowd")
    with ThreadPoolExecutor(8) as pool:
        given = list(pool.map(lambda r: server.ask(site.payload("dataframe_split", [r])), rows))
    assert {status for status, _ in given} == {200}
    answers = [answer for _, (answer,) in given]
    assert site.bits(answers) == site.bits(site.expected[:N_ROWS])
    assert len(records_of(server.log, "crowd-")) == N_ROWS


@served
def test_nonsense_at_the_same_time(site: Site, server: Server) -> None:
    """A request that is refused takes none of those with it that came in its company."""
    rows = fresh(site.rows[:N_ROWS], "beside")
    bad = [row | {"order": f"bad-{row['order']}", "colour": "mauve"} for row in rows]
    mixed = [row for pair in zip(rows, bad, strict=True) for row in pair]
    with ThreadPoolExecutor(8) as pool:
        given = list(pool.map(lambda r: server.ask(site.payload("instances", [r])), mixed))
    assert {status for status, _ in given[::2]} == {200}
    assert all(400 <= status < 500 for status, _ in given[1::2])
    answers = [answer for _, (answer,) in given[::2]]
    assert site.bits(answers) == site.bits(site.expected[:N_ROWS])
    assert len(records_of(server.log, "beside-")) == N_ROWS
    assert not records_of(server.log, "bad-")


def test_mlflow_models_predict(site: Site, tmp_path: Path) -> None:
    def predict(name: str, rows: list[Row]) -> tuple[Path, list[Row]]:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "in.json").write_text(json.dumps(site.payload("dataframe_split", rows)))
        command = ["-m", "mlflow", "models", "predict", "-m", site.model_uri]
        command += ["--env-manager", "local", "-t", "json", "-i", "in.json", "-o", "out.json"]
        site.run(folder, *command)
        return folder / "log", json.loads((folder / "out.json").read_text())["predictions"]

    log, answers = predict("together", site.rows[:N_ROWS])
    assert site.bits(answers) == site.bits(site.expected[:N_ROWS])
    assert_on_record(site, log, "batch", site.rows[:N_ROWS], answers)
    log, answers = predict("alone", [site.rows[3]])
    assert site.bits(answers) == site.bits([site.expected[3]])
    assert_on_record(site, log, "batch", [site.rows[3]], answers)


def test_mlflow_models_predict_guesses_nothing(site: Site, tmp_path: Path) -> None:
    command = ["-m", "mlflow", "models", "predict", "-m", site.model_uri, "--env-manager", "local"]
    row = {**site.rows[0], "order": "NA", "note": "null"}
    site.as_csv(tmp_path / "in.csv", [row])
    site.run(tmp_path, *command, "-t", "csv", "-i", "in.csv")
    (kept,) = asfitted.read_log(tmp_path / "log").to_dict("records")
    assert [(kept["inputs"], kept["keys"])] == site.put_on_record([row])
    refused = {
        '{"instances": [{"price": 1, "price": 2}]}': "holds a key twice",
        json.dumps({"instances": [{**row, "colur": "red"}]}): "did you mean colour?",
        json.dumps({"instances": [{**row, "price": float("nan")}]}): "NaN is not JSON",
    }
    for text, said in refused.items():
        (tmp_path / "in.json").write_text(text)
        done = site.run(tmp_path, *command, "-t", "json", "-i", "in.json", exits=1)
        assert said in done.stderr
    assert len(asfitted.read_log(tmp_path / "log")) == 1


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_score(site: Site, tmp_path: Path, form: str) -> None:
    rows = site.rows[:N_ROWS]
    source = tmp_path / f"rows.{form}"
    if form == "csv":
        site.as_csv(source, rows)
    else:
        site.as_parquet(source, rows)
    target = tmp_path / "answers.parquet"
    command = ["-m", "asfitted", "score", site.model_uri, "--json"]
    done = site.run(tmp_path, *command, "--input", str(source), "--output", str(target))
    said = json.loads(done.stdout)
    assert (said["rows"], said["model"]["name"], said["model"]["version"]) == (N_ROWS, "shop", "1")
    given = pd.read_parquet(target)
    answers = given[["prediction", "probability_no", "probability_yes"]].to_dict("records")
    assert site.bits(answers) == site.bits(site.expected[:N_ROWS])
    assert given["order"].tolist() == [row["order"] for row in rows]
    found = assert_on_record(site, tmp_path / "log", "batch", rows, answers)
    assert given["prediction_id"].tolist() == found["prediction_id"].tolist()
