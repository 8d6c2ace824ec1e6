"""`asfitted contract`: infer, show, check, diff, export."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pandas as pd
import pytest

import asfitted.cli.contract as cli_contract
from asfitted.cli import main
from asfitted.contract import DataContract

FRAME = pd.DataFrame(
    {
        "id": [f"r{i}" for i in range(30)],
        "size": [i / 7 for i in range(30)],
        "colour": ["red", "blue"] * 15,
    }
)


class Ran:
    def __init__(self, capsys: pytest.CaptureFixture[str], *args: object) -> None:
        with pytest.raises(SystemExit) as caught:
            main(["contract", *map(str, args)])
        self.code = caught.value.code
        self.out, self.err = capsys.readouterr()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    FRAME.to_csv(tmp_path / "rows.csv", index=False)
    FRAME.to_parquet(tmp_path / "rows.parquet")
    return tmp_path


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


@pytest.mark.parametrize("name", ["rows.csv", "rows.parquet"])
def test_infer_writes_a_contract_that_the_data_conforms_to(
    name: str, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = Ran(capsys, "infer", data / name, "--key", "id")
    assert (ran.code, ran.err) == (0, "")
    printed = DataContract.from_yaml(ran.out)
    assert printed.keys == ("id",)
    assert printed.columns["colour"].categories == ("blue", "red")
    ran = Ran(capsys, "infer", data / name, "--key", "id", "--output", data / "contract.yaml")
    assert ran.code == 0
    assert "3 columns into" in ran.out
    assert DataContract.load(data / "contract.yaml") == printed
    for rows in ("rows.csv", "rows.parquet"):
        ran = Ran(capsys, "check", data / "contract.yaml", data / rows)
        assert (ran.code, ran.out.splitlines()[0]) == (
            0,
            f"30 rows conform to {data / 'contract.yaml'}",
        )


def test_infer_reads_a_csv_as_it_is_read_when_it_is_scored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    columns = {
        "flag": ["true", "false", ""],
        "grade": ["A", "NA", "None"],
        "zip": ["01234", "10115", ""],
        "count": ["1", "", "3"],
        "size": ["1.5", "1e3", "2"],
        "left": ["2013-05-01T10:00:00Z", "2013-05-02", "2013-05-03 10:00"],
        "mixed": ["1", "x", "2"],
        "said": ["True", "False", "True"],
        "nothing": ["1", "", ""],
    }
    pd.DataFrame(columns).to_csv(tmp_path / "rows.csv", index=False)
    ran = Ran(capsys, "infer", tmp_path / "rows.csv", "--output", tmp_path / "c.yaml")
    assert ran.code == 0, ran.err
    proposed = DataContract.load(tmp_path / "c.yaml").columns
    assert {name: column.kind for name, column in proposed.items()} == {
        "flag": "boolean", "grade": "category", "zip": "category", "count": "integer",
        "size": "number", "left": "datetime", "mixed": "category", "said": "boolean",
        "nothing": "integer",
    }  # fmt: skip
    assert proposed["grade"].categories == ("A", "NA", "None")
    assert proposed["zip"].categories == ("01234", "10115")
    ran = Ran(capsys, "check", tmp_path / "c.yaml", tmp_path / "rows.csv")
    assert (ran.code, ran.out.splitlines()[0]) == (0, f"3 rows conform to {tmp_path / 'c.yaml'}")


def test_an_index_with_a_name_is_a_column_of_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    FRAME.set_index("size").to_parquet(tmp_path / "named.parquet")
    FRAME[FRAME["colour"] == "red"].to_parquet(tmp_path / "nameless.parquet")
    ran = Ran(capsys, "infer", tmp_path / "named.parquet", "--output", tmp_path / "c.yaml")
    assert ran.code == 0, ran.err
    assert set(DataContract.load(tmp_path / "c.yaml").columns) == set(FRAME)
    for name, rows in (("named", 30), ("nameless", 15)):
        ran = Ran(capsys, "check", tmp_path / "c.yaml", tmp_path / f"{name}.parquet")
        assert (ran.code, ran.out.split()[0]) == (0, f"{rows}")


def test_infer_refuses_what_no_contract_can_be_made_of(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = Ran(capsys, "infer", data / "rows.csv", "--key", "nobody")
    assert ran.code == 2
    assert ran.out == ""
    assert "ContractInvalid: the key 'nobody' is not a column" in ran.err
    (data / "torn.parquet").write_bytes(b"PAR1")
    ran = Ran(capsys, "infer", data / "torn.parquet")
    assert ran.code == 2
    assert "torn.parquet" in ran.err


def test_check_refuses_with_exit_3_and_says_the_rows(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    DataContract.infer(FRAME, keys=("id",)).save(data / "contract.yaml")
    bad = FRAME.assign(colour=["green", *FRAME["colour"][1:]], size=["x", *FRAME["size"][1:]])
    bad.to_csv(data / "bad.csv", index=False)
    ran = Ran(capsys, "check", data / "contract.yaml", data / "bad.csv")
    assert ran.code == 3
    assert ran.out == ""
    assert "colour: 1 of 30 values are not among the categories (rows 0)" in ran.err
    assert "size: 1 of 30 values are not numbers (rows 0)" in ran.err
    assert "green" not in ran.err


def test_check_counts_the_findings(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    DataContract.infer(FRAME.iloc[:15], keys=("id",)).save(data / "contract.yaml")
    for name in ("rows.csv", "rows.parquet"):
        ran = Ran(capsys, "check", data / "contract.yaml", data / name)
        assert ran.code == 0
        assert ran.out.splitlines()[1:] == ["  size: outside observed in 15 rows"]


def test_a_contract_that_is_none(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (("show",), ("check", data / "rows.csv")):
        name, *more = command
        ran = Ran(capsys, name, data / "none.yaml", *more)
        assert ran.code == 2
        assert "ContractInvalid: the contract cannot be read" in ran.err
        (data / "wrong.yaml").write_text("columns: {size: {kind: numbr}}")
        ran = Ran(capsys, name, data / "wrong.yaml", *more)
        assert ran.code == 2
        assert "@ columns.size.kind" in ran.err


SHOWN = """\
keys: [id]
columns:
  size: {kind: number, min: -5, max: 0, unit: miles, meaning: How far}
  colour: {kind: category, categories: [a, b, c, d, e, f, g], unknown: other}
  left: {kind: datetime, zone: Asia/Tokyo, missing: {fill: 2020-01-01}}
  word: {kind: text, max_length: 7, missing: {fill: ""}}
  bracket: {kind: category, categories: ["[red]x"]}
  id: {kind: text, missing: pass}
"""


@pytest.mark.usefixtures("wide")
def test_show(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "contract.yaml").write_text(SHOWN)
    ran = Ran(capsys, "show", tmp_path / "contract.yaml")
    assert ran.code == 0
    lines = {line.split()[1]: line for line in ran.out.splitlines() if line.startswith("│")}
    for name, said in {
        "colour": "a, b, c, d, e, f, … (8); unknown: other",
        "left": "Asia/Tokyo",
        "word": "up to 7 characters",
        "id": "text (key)",
    }.items():
        assert said in lines[name]
    assert "fill '2020-01-01'" in lines["left"]
    assert "refuse" in lines["size"]


@pytest.mark.usefixtures("wide")
def test_show_shows_bounds_of_zero_and_brackets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "contract.yaml").write_text(SHOWN)
    out = Ran(capsys, "show", tmp_path / "contract.yaml").out
    assert "-5 to 0" in out
    assert "How far [miles]" in out
    assert "[red]x" in out


ALL = (
    SHOWN
    + """\
  code: {kind: text, min_length: 2, max_length: 4, pattern: "[A-Z]+", why: {pattern: a standard}}
row_checks: [{function: "checks:ordered", why: time goes on}]
output: {min: 0, checks: [{function: "checks:sane"}]}
target: {late: {kind: boolean, meaning: 15 minutes}}
"""
)


@pytest.mark.usefixtures("wide")
def test_show_shows_all_there_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "contract.yaml").write_text(ALL)
    ran = Ran(capsys, "show", tmp_path / "contract.yaml")
    assert ran.code == 0
    lines = {line.split()[1]: line for line in ran.out.splitlines() if line.startswith("│")}
    assert "2 to 4 characters; matches [A-Z]+" in lines["code"]
    assert "– pattern: a standard" in lines["code"]
    assert "boolean (target)" in lines["late"]
    assert "15 minutes" in lines["late"]
    for said in (
        "extra columns: refuse",
        "limits: 100,000 rows, 50,000,000 bytes",
        "row check: checks:ordered: time goes on",
        "output: at least 0",
        "output: checks:sane",
    ):
        assert said in ran.out.splitlines()


# Targets.


@pytest.mark.parametrize("name", ["rows.csv", "rows.parquet"])
def test_infer_takes_a_target_out_of_the_data(
    name: str, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = Ran(capsys, "infer", data / name, "--key", "id", "--target", "colour")
    assert (ran.code, ran.err) == (0, "")
    printed = DataContract.from_yaml(ran.out)
    assert list(printed.columns) == ["id", "size"]
    assert printed.target["colour"].categories == ("blue", "red")
    ran = Ran(capsys, "infer", data / name, "--target", "colour", "--target", "size")
    assert list(DataContract.from_yaml(ran.out).target) == ["colour", "size"]


def test_a_target_that_is_none(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for more, said in (
        (("--target", "color"), "the target 'color' is not a column"),
        (("--target", "id", "--key", "id"), "the target 'id' is a key"),
        (("--target", "id"), "a text cannot be a target"),
    ):
        ran = Ran(capsys, "infer", data / "rows.csv", *more)
        assert (ran.code, ran.out) == (2, "")
        assert said in ran.err


# Whole files, and code.


def test_rows_are_numbered_in_the_whole_file(
    data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli_contract, "_CHUNK_ROWS", 7)
    DataContract.infer(FRAME, keys=("id",)).save(data / "contract.yaml")
    bad = FRAME.copy()
    bad.loc[[3, 8, 29], "colour"] = "green"
    bad["size"] = bad["size"].astype(object)
    bad.loc[15, "size"] = "x"
    bad.to_csv(data / "bad.csv", index=False)
    bad.assign(size=FRAME["size"]).to_parquet(data / "bad.parquet")
    for ending in ("csv", "parquet"):
        ran = Ran(capsys, "check", data / "contract.yaml", data / f"bad.{ending}")
        assert ran.code == 3
        assert "colour: 3 of 30 values are not among the categories (rows 3, 8, 29)" in ran.err
        assert f"where: {data / f'bad.{ending}'}" in ran.err
        assert ("size: 1 of 30 values are not numbers (rows 15)" in ran.err) == (ending == "csv")


CODE = "def small(frame):\n    return frame['size'] < 4\n"


@pytest.mark.parametrize("where", ["file", "folder", "package"])
def test_row_checks_come_from_the_code(
    where: str, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = f"cli_checks_{where}"
    home = data / "code"
    (home / name if where == "package" else home).mkdir(parents=True)
    module = {"package": f"{name}.deep"}.get(where, name)
    file = home / f"{module.replace('.', '/')}.py"
    file.write_text(CODE)
    if where == "package":
        (home / name / "__init__.py").touch()
    contract = DataContract.infer(FRAME, keys=("id",))
    (data / "contract.yaml").write_text(
        f"{contract.to_yaml()}row_checks: [{{function: '{module}:small', why: too large}}]\n"
    )
    files = (data / "contract.yaml", data / "rows.csv")
    ran = Ran(capsys, "check", *files)
    assert ran.code == 1
    assert f"CheckFailed: the check {module}:small cannot be imported" in ran.err
    code = {"file": file, "folder": home, "package": home / name}[where]
    before = list(sys.path)
    ran = Ran(capsys, "check", *files, "--code", data, "--code", code)
    assert ran.code == 3
    assert "2 of 30 rows fail small: too large (rows 28, 29)" in ran.err
    assert sys.path == before
    ran = Ran(capsys, "check", *files, "--code", data / "nowhere")
    assert ran.code == 2
    assert "the code is not there" in ran.err


# Comparing.


def test_diff(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = data / "old.yaml", data / "new.yaml"
    old.write_text(SHOWN)
    new.write_text(SHOWN.replace("max: 0", "max: 1").replace("miles", "km"))
    ran = Ran(capsys, "diff", old, new, "--json")
    assert ran.code == 3
    said = json.loads(ran.out)
    assert set(said) == {"schema_version", "old", "new", "compatible", "changes"}
    assert (said["schema_version"], said["compatible"]) == (1, False)
    assert said["old"] == {"file": str(old), "digest": DataContract.load(old).digest}
    assert said["new"]["digest"] == DataContract.load(new).digest
    assert said["changes"] == [
        {
            "where": "columns.size",
            "rule": "max",
            "was": 0,
            "now": 1,
            "compatible": True,
            "why": "more values are allowed",
        },
        {
            "where": "columns.size",
            "rule": "unit",
            "was": "miles",
            "now": "km",
            "compatible": False,
            "why": "the same value means something else",
        },
    ]
    new.write_text(SHOWN.replace("max: 0", "max: 1"))
    ran = Ran(capsys, "diff", old, new, "--json")
    assert (ran.code, json.loads(ran.out)["compatible"]) == (0, True)
    ran = Ran(capsys, "diff", old, old, "--json")
    assert (ran.code, json.loads(ran.out)["changes"]) == (0, [])


@pytest.mark.usefixtures("wide")
def test_diff_as_a_table(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = data / "old.yaml", data / "new.yaml"
    old.write_text(SHOWN)
    new.write_text(SHOWN.replace("max_length: 7", "max_length: 6").replace('"[red]x"', '"[b]y"'))
    ran = Ran(capsys, "diff", old, new)
    assert ran.code == 3
    lines = {line.split()[1]: line for line in ran.out.splitlines() if line.startswith("│")}
    cells = [cell.strip() for cell in lines["columns.word"].split("│")]
    assert cells[2:6] == ["max_length", "7", "6", "NO"]
    assert '["[b]y"]' in ran.out
    assert ran.out.splitlines()[-1] == "changes: 3, incompatible for callers: 2"
    ran = Ran(capsys, "diff", old, old)
    assert (ran.code, ran.out) == (0, "changes: 0, incompatible for callers: 0\n")


def test_no_name_is_cut_short_where_the_output_is_narrow(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    files = [tmp_path / "old.yaml", tmp_path / "new.yaml"]
    for file, bound in zip(files, (1, 2), strict=True):
        file.write_text(f"columns: {{scheduled_departure: {{kind: number, max: {bound}}}}}")
    for ran in (Ran(capsys, "diff", *files), Ran(capsys, "show", files[0])):
        first_cells = [line.strip("│").split("│")[0].strip() for line in ran.out.splitlines()]
        assert "scheduled_departure" in "".join(first_cells)
        assert "…" not in ran.out


@pytest.mark.parametrize("which", [0, 1])
def test_diff_of_a_file_that_is_none(
    which: int, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "contract.yaml").write_text(SHOWN)
    for wrong in ("none.yaml", "rows.parquet"):
        files = [data / "contract.yaml", data / "contract.yaml"]
        files[which] = data / wrong
        ran = Ran(capsys, "diff", *files, "--json")
        assert (ran.code, ran.out) == (2, "")
        assert f"where: {data / wrong}" in ran.err


# Exports.


@pytest.mark.parametrize("form", ["json-schema", "openapi", "pandera"])
def test_export(form: str, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    contract = data / "contract.yaml"
    contract.write_text(ALL)
    ran = Ran(capsys, "export", contract, "--format", form)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.endswith("\n")
    assert not ran.out.endswith("\n\n")
    there = Ran(capsys, "export", contract, "--format", form, "--output", data / "out")
    assert (there.code, there.out) == (0, f"{form} into {data / 'out'}\n")
    assert (data / "out").read_text(encoding="utf-8") == ran.out
    if form == "pandera":
        assert compile(ran.out, "out", "exec")
        assert "'size': pandera.Column(" in ran.out
    else:
        said = json.loads(ran.out)
        row = said if form == "json-schema" else said["components"]["schemas"]["Row"]
        assert row["properties"]["code"]["pattern"] == "^(?:[A-Z]+)$"
    ran = Ran(capsys, "export", contract, "--format", form, "--output", data)
    assert ran.code == 2
    assert "cannot be written" in ran.err


def test_export_of_nothing(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert Ran(capsys, "export", data / "none.yaml", "--format", "pandera").code == 2
    (data / "contract.yaml").write_text(SHOWN)
    for more in ((), ("--format", "avro")):
        ran = Ran(capsys, "export", data / "contract.yaml", *more)
        assert ran.code == 2
        assert "json-schema" in ran.err


@pytest.mark.parametrize(
    ("command", "ending"),
    [("infer", "csv"), ("infer", "parquet"), ("check", "csv"), ("check", "parquet")],
)
def test_data_that_is_not_there(
    command: str, ending: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "contract.yaml").write_text(SHOWN)
    first = [tmp_path / "contract.yaml"] if command == "check" else []
    ran = Ran(capsys, command, *first, tmp_path / f"none.{ending}")
    assert ran.code == 2
    assert f"none.{ending}" in ran.err
