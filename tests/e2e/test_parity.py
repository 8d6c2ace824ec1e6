"""Ten thousand real flights: the same bits and the same record through every door."""

from __future__ import annotations

import dataclasses
import json
import random
import shutil
from collections.abc import Iterator
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
    # One model and one server, one worker of xdist.
    pytest.mark.xdist_group("parity"),
]

EXAMPLE = Path(__file__).resolve().parents[2] / "examples/flights"
N_ROWS = 10_000
TRAINING_ROWS = 8_000
N_ALONE = 500
# How many rows of the ten thousand go into one request of each form, and of how many kinds.
BATCHES = {
    "dataframe_split": (1000,),
    "dataframe_records": (7, 63, 200),
    "inputs": (64,),
    "instances": (65, 2),
    "csv": (2500,),
    "parquet": (10_000,),
}
CONTENT_TYPES = {"csv": "text/csv", "parquet": "application/vnd.apache.parquet"}
CLIENTS = 8

# Answers the flights of a file in one dtype family, all of them and some alone.
IN_PROCESS = """
import json, sys
import asfitted, pandas as pd, pyarrow as pa

uri, file, family, alone = sys.argv[1:]
rows = pd.read_parquet(file)
texts = [name for name in rows if not pd.api.types.is_numeric_dtype(rows[name])]
texts.remove("scheduled_departure")
if family == "numpy":
    rows = rows.astype(dict.fromkeys(texts, object))
elif family == "nullable":
    rows = rows.convert_dtypes(convert_floating=False).astype(dict.fromkeys(texts, "string"))
    floats = rows.select_dtypes("float64").columns
    rows = rows.astype(dict.fromkeys(floats, "Float64"))
else:
    rows = pa.Table.from_pandas(rows).to_pandas(types_mapper=pd.ArrowDtype)
kinds = sorted({type(dtype).__name__ for dtype in rows.dtypes})
model = asfitted.load_model(uri)
together = model.predict(rows).to_dict("records")
alone = [model.predict(rows.iloc[[i]]).to_dict("records")[0] for i in json.loads(alone)]
print("\\n" + json.dumps([kinds, together, alone]))
"""
FAMILIES = {
    "numpy": {"Float64DType", "Int64DType", "ObjectDType", "DatetimeTZDtype"},
    "nullable": {"Float64Dtype", "Int64Dtype", "StringDtype", "DatetimeTZDtype"},
    "arrow": {"ArrowDtype"},
}


@pytest.fixture(scope="module")
def site(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """The example's own training, in a copy of its folder and with a store of its own."""
    folder = tmp_path_factory.mktemp("flights")
    shutil.copytree(
        EXAMPLE, folder, ignore=shutil.ignore_patterns("data", "__pycache__"), dirs_exist_ok=True
    )
    flights = dataclasses.replace(site, folder=folder, model_uri="models:/flights/1")
    flights.run(folder, "train.py", "--rows", str(TRAINING_ROWS))
    held_out = pd.read_parquet(folder / "data/holdout.parquet").drop(columns="late")
    held_out.head(N_ROWS).to_parquet(folder / "rows.parquet", index=False)
    return flights


@pytest.fixture(scope="module")
def frame(site: Site) -> pd.DataFrame:
    return pd.read_parquet(site.folder / "rows.parquet")


@pytest.fixture(scope="module")
def rows(frame: pd.DataFrame) -> list[Row]:
    """The flights as JSON has them: moments with their own offset, null for missing."""
    moments = [moment.isoformat() for moment in frame["scheduled_departure"]]
    plain = frame.assign(scheduled_departure=moments).astype(object)
    rows = plain.where(plain.notna(), None).to_dict("records")
    assert len(rows) == N_ROWS
    assert {moment[-6:] for moment in moments} == {"-04:00", "-05:00"}
    assert sum(None in row.values() for row in rows) > N_ROWS / 2
    return rows


@pytest.fixture(scope="module")
def to_record(rows: list[Row]) -> dict[str, str]:
    """What has to stand on record of each flight, by its key."""
    found = {}
    for row in rows:
        moment = pd.Timestamp(row["scheduled_departure"]).tz_convert("UTC")
        inputs = row | {"scheduled_departure": moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")}
        keys = {"flight_id": inputs.pop("flight_id")}
        found[row["flight_id"]] = json.dumps([inputs, keys])
    assert len(found) == N_ROWS
    return found


def some() -> list[int]:
    return random.Random(5).sample(range(N_ROWS), 40)


def in_process(site: Site, folder: Path, family: str) -> tuple[list[Row], list[Row]]:
    """Answer in a process of its own; return the answers for all rows, and for some alone."""
    (folder / "answer.py").write_text(IN_PROCESS)
    file, alone = str(site.folder / "rows.parquet"), json.dumps(some())
    done = site.run(folder, "answer.py", site.model_uri, file, family, alone)
    kinds, together, given_alone = json.loads(done.stdout.splitlines()[-1])
    assert set(kinds) == FAMILIES[family]
    return together, given_alone


@pytest.fixture(scope="module")
def numpy_run(site: Site, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("numpy")
    return folder, in_process(site, folder, "numpy")


@pytest.fixture(scope="module")
def expected(numpy_run: tuple[Path, Any]) -> list[Row]:
    """What the model says of each flight, in process and all at once: the measure."""
    together = numpy_run[1][0]
    assert len(together) == N_ROWS
    assert len({row["probability_1"] for row in together}) > N_ROWS / 2
    return together


def assert_on_record(
    site: Site, log: pd.DataFrame, expected: dict[str, Row], to_record: dict[str, str]
) -> None:
    columns = (log[name] for name in ("inputs", "keys", "outputs"))
    for inputs, keys, outputs in zip(*columns, strict=True):
        key = keys["flight_id"]
        # Compared as JSON: to Python, 1 and 1.0 are equal.
        assert json.dumps([inputs, keys]) == to_record[key]
        assert site.bits([outputs]) == site.bits([expected[key]])


@pytest.fixture(scope="module")
def by_key(rows: list[Row], expected: list[Row]) -> dict[str, Row]:
    return {row["flight_id"]: answer for row, answer in zip(rows, expected, strict=True)}


@pytest.mark.parametrize("family", FAMILIES)
def test_in_process(
    site: Site,
    tmp_path: Path,
    family: str,
    numpy_run: tuple[Path, Any],
    expected: list[Row],
    by_key: dict[str, Row],
    to_record: dict[str, str],
) -> None:
    folder, answers = numpy_run
    if family != "numpy":
        folder, answers = tmp_path, in_process(site, tmp_path, family)
    together, alone = answers
    assert site.bits(together) == site.bits(expected)
    assert site.bits(alone) == site.bits([expected[i] for i in some()])
    log = asfitted.read_log(folder / "log")
    assert len(log) == N_ROWS + len(some())
    assert set(log["source"]) == {"inprocess"}
    assert_on_record(site, log, by_key, to_record)


def batches(sizes: tuple[int, ...]) -> Iterator[list[int]]:
    """Cut the flights, in another order for each form, into batches of the given sizes."""
    order = random.Random(str(sizes)).sample(range(N_ROWS), N_ROWS)
    start, turn = 0, 0
    while start < N_ROWS:
        size = sizes[turn % len(sizes)]
        yield order[start : start + size]
        start, turn = start + size, turn + 1


def body(
    site: Site, form: str, chosen: list[int], rows: list[Row], frame: pd.DataFrame, file: Path
) -> Any:
    if form == "csv":
        return site.as_csv(file, [rows[i] for i in chosen]).read_bytes()
    if form == "parquet":
        frame.iloc[chosen].to_parquet(file, index=False)
        return file.read_bytes()
    return site.payload(form, [rows[i] for i in chosen])


@pytest.fixture(scope="module")
def server(site: Site, serve_for_module: Serve, tmp_path_factory: pytest.TempPathFactory) -> Server:
    return serve_for_module(tmp_path_factory.mktemp("parity"))


def test_served(
    site: Site,
    server: Server,
    tmp_path: Path,
    rows: list[Row],
    frame: pd.DataFrame,
    expected: list[Row],
    by_key: dict[str, Row],
    to_record: dict[str, str],
) -> None:
    requests = {
        f"{form}-{i}": (form, chosen)
        for form, sizes in BATCHES.items()
        for i, chosen in enumerate(batches(sizes))
    }
    forms, alone = list(BATCHES), random.Random(3).sample(range(N_ROWS), N_ALONE)
    requests |= {f"alone-{row}": (forms[i % len(forms)], [row]) for i, row in enumerate(alone)}

    # By one thread: what pandas holds back of pyarrow's warnings, another would let through.
    bodies = {
        request_id: body(site, form, chosen, rows, frame, tmp_path / request_id)
        for request_id, (form, chosen) in requests.items()
    }

    def ask(request_id: str) -> tuple[str, int, Any]:
        sent = bodies[request_id]
        content_type = CONTENT_TYPES.get(requests[request_id][0], "application/json")
        return request_id, *server.ask(sent, content_type=content_type, x_request_id=request_id)

    # Those of all forms and sizes at the same time, so that they meet each other's rows.
    mixed = random.Random(4).sample(list(requests), len(requests))
    with ThreadPoolExecutor(CLIENTS) as pool:
        for request_id, status, answers in pool.map(ask, mixed):
            assert status == 200, answers
            wanted = [expected[i] for i in requests[request_id][1]]
            assert site.bits(answers) == site.bits(wanted), request_id
    log = asfitted.read_log(server.log)
    assert set(log["source"]) == {"serve"}
    assert len(log) == N_ROWS * len(BATCHES) + N_ALONE
    assert log["request_id"].value_counts().to_dict() == {
        request_id: len(chosen) for request_id, (_, chosen) in requests.items()
    }
    together = log.groupby("batch_id")["request_id"].nunique()
    assert (together > 1).any()
    assert_on_record(site, log, by_key, to_record)


@pytest.mark.parametrize("form", ["json", "csv"])
def test_mlflow_models_predict(
    site: Site,
    tmp_path: Path,
    form: str,
    rows: list[Row],
    expected: list[Row],
    by_key: dict[str, Row],
    to_record: dict[str, str],
) -> None:
    source = tmp_path / f"in.{form}"
    if form == "csv":
        site.as_csv(source, rows)
    else:
        source.write_text(json.dumps(site.payload("dataframe_split", rows)))
    command = ["-m", "mlflow", "models", "predict", "-m", site.model_uri, "--env-manager", "local"]
    site.run(tmp_path, *command, "-t", form, "-i", str(source), "-o", "out.json")
    answers = json.loads((tmp_path / "out.json").read_text())["predictions"]
    assert site.bits(answers) == site.bits(expected)
    log = asfitted.read_log(tmp_path / "log")
    assert set(log["source"]) == {"batch"}
    assert len(log) == N_ROWS
    assert_on_record(site, log, by_key, to_record)
