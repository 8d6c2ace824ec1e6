"""The page of codes lists every code and every rule, and none that is not there."""

from __future__ import annotations

import re
from pathlib import Path

import asfitted

HOME = Path(asfitted.__file__).parent
PAGE = (Path(__file__).parents[3] / "docs" / "serving.md").read_text(encoding="utf-8")
CODES = PAGE.partition("## Codes")[2]


def cells(table: str, column: int) -> set[str]:
    rows = [line.split("|") for line in table.splitlines() if line.startswith("| ")]
    return {code for row in rows for code in re.findall(r"`(\w+)`", row[column])}


def source(*places: str) -> str:
    files = [f for place in places for f in sorted((HOME / place).rglob("*.py"))]
    return "\n".join(file.read_text(encoding="utf-8") for file in files)


def test_every_code() -> None:
    said = set(re.findall(r'RequestRefused\(\s*"(\w+)"', source("wire", "serving")))
    assert len(said) > 20
    said |= {"contract_violation", "output_violation", "record_failed", "internal", "bad_shape"}
    said |= {"check_failed"}
    assert cells(CODES.partition("A violation's")[0], 2) == said


def test_every_rule() -> None:
    text = source("contract")
    rules = set(re.findall(r'refuse\(\s*"(\w+)"', text))
    rules |= set(re.findall(r'Violation\(\w*\(?\w*\)?, "(\w+)"', text))
    rules |= {"min_length", "max_length", "pattern"}
    page = cells(CODES.partition("A violation's")[2], 1)
    about_frames = {"frame", "index", "shape"}
    assert page == rules - about_frames, "those are about a DataFrame or a target"
