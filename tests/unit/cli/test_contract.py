"""`asfitted contract`: infer, show, check."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

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
