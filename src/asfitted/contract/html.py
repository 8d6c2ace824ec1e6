"""The contract as a notebook shows it: a table with no style sheet and no script."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from asfitted.contract import words
from asfitted.contract.column import Column
from asfitted.contract.schema import DataContract

_HEADINGS = ("column", "kind", "missing", "rules", "meaning", "why")
# The colours are the page's own, dark or light; the lines are grey on both.
_LINE = "border:0;border-bottom:1px solid rgba(128,128,128,.35)"
_CELL = f"{_LINE};padding:.3em .8em;text-align:left;vertical-align:top"
# A name or a pattern may be longer than the page is wide.
_WRAP = f"{_CELL};white-space:normal;overflow-wrap:break-word;max-width:24em"
# A pattern, a reason or a name of any length is cut: the YAML has it whole.
_LONGEST = 300


def to_html(contract: DataContract) -> str:
    """Return the contract as an HTML table; every text of the contract is escaped."""
    rows = [
        _row(name, column, "key" if name in contract.keys else "")
        for name, column in contract.columns.items()
    ]
    rows += [_row(name, column, "target") for name, column in contract.target.items()]
    head = "".join(f'<th style="{_CELL}">{heading}</th>' for heading in _HEADINGS)
    return (
        f"<div><p><b>{_text(str(contract))}</b></p>"
        '<table style="border-collapse:collapse;font-size:.9em">'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
        f"<p>{_lines(words.whole(contract))}</p></div>"
    )


def _row(name: str, column: Column, use: str) -> str:
    kind = f"{column.kind} ({use})" if use else column.kind
    cells = [
        (_CELL, _text(kind)),
        (_CELL, _text(words.missing(column))),
        (_WRAP, _lines(words.rules(column))),
        (_WRAP, _text(words.meaning(column))),
        (_WRAP, _lines(words.reasons(column.why))),
    ]
    name_cell = f'<th scope="row" style="{_WRAP}">{_text(name)}</th>'
    body = "".join(f'<td style="{style}">{text}</td>' for style, text in cells)
    return f"<tr>{name_cell}{body}</tr>"


def _lines(texts: Sequence[str]) -> str:
    return "<br>".join(map(_text, texts))


def _text(text: str) -> str:
    return escape(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…")
