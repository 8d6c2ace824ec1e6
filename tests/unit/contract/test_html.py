"""The contract in a notebook: a table, and nothing of the contract's own runs in it."""

from __future__ import annotations

from html.parser import HTMLParser

from contracts import contracts
from hypothesis import given
from hypothesis import strategies as st

from asfitted.contract import Column, DataContract

CONTRACT = DataContract.from_yaml("""\
keys: [id]
columns:
  id: {kind: text}
  size: {kind: number, min: 0, max: 9, unit: miles, meaning: How far, why: {max: far enough}}
  since: {kind: datetime, min: 2000-01-01, zone: Asia/Tokyo, missing: {fill: 2001-01-01}}
  code: {kind: text, min_length: 2, max_length: 4, pattern: "[A-Z]+"}
  port: {kind: category, categories: [a, b, c, d, e, f, g, h], unknown: other}
row_checks: [{function: "checks:ordered", why: time goes on}]
output: {min: 0, checks: [{function: "checks:sane"}], why: {min: no debts}}
target: {late: {kind: boolean}}
""")


class Page(HTMLParser):
    """Reads a page into rows of cells, and notes all that a page can do."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.rows: list[list[str]] = []
        self.rest = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag == "tr":
            self.rows.append([])
        elif tag in {"td", "th"}:
            self.rows[-1].append("")
        elif tag == "br":
            self.handle_data("\n")

    def handle_data(self, data: str) -> None:
        if self.rows and "table" not in self.rest:
            self.rows[-1][-1] += data
        else:
            self.rest += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "table":
            self.rest += "table"


def test_what_it_shows() -> None:
    page = Page(CONTRACT._repr_html_())
    head, *rows = page.rows
    assert head == ["column", "kind", "missing", "rules", "meaning", "why"]
    assert rows == [
        ["id", "text (key)", "refuse", "up to 1000 characters", "", ""],
        ["size", "number", "refuse", "0 to 9", "How far [miles]", "max: far enough"],
        ["since", "datetime", "fill '2001-01-01'", "at least 2000-01-01\nAsia/Tokyo", "", ""],
        ["code", "text", "refuse", "2 to 4 characters\nmatches [A-Z]+", "", ""],
        ["port", "category", "refuse", "a, b, c, d, e, f, … (9)\nunknown: other", "", ""],
        ["late", "boolean (target)", "refuse", "", "", ""],
    ]
    assert str(CONTRACT) in page.rest
    for said in (
        "extra columns: refuse",
        "limits: 100,000 rows, 50,000,000 bytes",
        "row check: checks:ordered: time goes on",
        "output: at least 0",
        "output: checks:sane",
        "output: min: no debts",
    ):
        assert said in page.rest


TAGS = {"div", "p", "b", "table", "thead", "tbody", "tr", "th", "td", "br"}
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'&amp;</td></table>"


def test_hostile_names_are_text() -> None:
    contract = DataContract.model_validate(
        {
            "columns": {
                HOSTILE: {"kind": "category", "categories": (HOSTILE,), "unit": HOSTILE},
                "b" + HOSTILE: {"kind": "text", "meaning": HOSTILE, "why": {HOSTILE: HOSTILE}},
                "c": {"kind": "text", "missing": {"fill": HOSTILE}},
            },
            "row_checks": ({"function": "m:f", "why": HOSTILE},),
            "output": {"why": {HOSTILE: HOSTILE}},
            "target": {HOSTILE: {"kind": "boolean"}},
        }
    )
    html = contract._repr_html_()
    page = Page(html)
    assert set(page.tags) <= TAGS
    assert page.rows[1][0] == HOSTILE
    assert page.rows[1][3].startswith(HOSTILE)
    assert page.rows[3][2] == f"fill {HOSTILE!r}"
    assert page.rows[4][0] == HOSTILE
    assert HOSTILE in page.rest
    assert "<script" not in html
    assert "<img" not in html


_ANY = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)


@given(name=_ANY, meaning=_ANY, contract=contracts())
def test_no_contract_makes_other_tags(name: str, meaning: str, contract: DataContract) -> None:
    named = DataContract(columns={name: Column(kind="number", meaning=meaning)})
    for one in (named, contract):
        page = Page(one._repr_html_())
        assert set(page.tags) <= TAGS
        assert {attribute for attribute, _ in page.attributes} <= {"style", "scope"}
        assert len(page.rows) == 1 + len(one.columns)
        assert {len(row) for row in page.rows} == {6}


def test_it_stands_alone_in_dark_and_light() -> None:
    html = CONTRACT._repr_html_()
    for outside in ("http", "url(", "<style", "<link", "class=", "background"):
        assert outside not in html
    # No colour of the text's own: it is the page's.
    assert ";color:" not in html
    assert '"color:' not in html


def test_long_texts_are_cut() -> None:
    column = Column(kind="text", meaning="m" * 5000, pattern="[a]" * 5000)
    html = DataContract(columns={"c": column})._repr_html_()
    assert len(html) < 5000
    assert "m" * 300 + "…" in html
    many = Column(kind="category", categories=tuple(f"label {i}" for i in range(5000)))
    html = DataContract(columns={"c": many})._repr_html_()
    assert "label 5, … (5000)" in html
    assert "label 6" not in html
