"""Records of the prediction log as lines of a terminal, one line and its findings each."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from asfitted.prediction_log import words
from asfitted.prediction_log.keys import is_hashed
from asfitted.prediction_log.reader import Record

# No terminal says how wide a pipe or a file is.
_PIPE_WIDTH = 120
_GAP = "  "
# Narrower, inputs would be cut to nothing worth reading and a key to nothing telling.
_LEAST_INPUTS = 24
_LEAST_KEY = 12
# "hmac-sha256:" and 8 digits, which mostly tell one from the others.
_HASH = 20


class LogTable:
    """Print records as they come, in columns that the first of them lay out.

    A table of fixed columns rather than rich's own: rows come for as long as
    the log is followed, and findings have the whole width below their row.

    Parameters
    ----------
    whole : bool
        All records come at once. If they are of one day, it stands once above.
    """

    def __init__(self, *, whole: bool) -> None:
        self._console = Console(highlight=False)
        if not self._console.is_terminal and "COLUMNS" not in os.environ:
            self._console = Console(highlight=False, width=_PIPE_WIDTH)
        self._whole = whole
        self._day = ""
        self._key_names: tuple[str, ...] = ()
        self._widths: dict[str, int] = {}

    def add(self, found: Sequence[Record]) -> None:
        """Print records of either table of the log."""
        if not found:
            return
        if not self._widths:
            self._day, self._key_names = _day(found) if self._whole else "", _key_names(found)
        rows = [self._cells(record) for record in found]
        if not self._widths:
            self._widths = self._fitted(_natural(rows))
            if self._day:
                self._console.print(Text(f"{self._day}, times in UTC", style="dim"))
            self._line({name: name for name in self._widths}, "bold")
        for cells, record in zip(rows, found, strict=True):
            self._line(cells)
            below = _below(record)
            if below:
                self._console.print(
                    Padding(Text(below, style="yellow"), (0, 0, 0, 4), expand=False)
                )

    def add_columns(self, rows: Sequence[Mapping[str, str]]) -> None:
        """Print cells as they are, at their full length: the user chose these columns."""
        if rows and not self._widths:
            self._widths = _natural(rows)
            self._line({name: name for name in self._widths}, "bold")
        for cells in rows:
            self._line(cells)

    def _cells(self, record: Record) -> dict[str, str]:
        time = words.moment(_time(record))
        heading, start = ("time", 11) if self._day else ("time (UTC)", 0)
        cells = {heading: time[start:], "model": words.model(record)}
        if "refusal_id" in record:
            rows = "–" if record["n_rows"] is None else str(record["n_rows"])
            return {
                **cells,
                "id": words.short_id(record["refusal_id"]),
                "code": record["code"],
                "rows": rows,
                "source": record["source"],
            }
        keys, inputs = _short(record["keys"]), _short(record["inputs"])
        named = tuple(keys) == self._key_names
        key = ", ".join(map(words.scalar, keys.values())) if named else words.pairs(keys)
        return {
            **cells,
            "id": words.short_id(record["prediction_id"]),
            ", ".join(self._key_names) or "key": key,
            "answer": words.answer(record["outputs"]),
            **({"outcome": words.scalar(record["outcome"])} if "outcome" in record else {}),
            "inputs": words.pairs(inputs),
        }

    def _fitted(self, natural: dict[str, int]) -> dict[str, int]:
        """Return widths that fill the terminal: inputs get what is left, or go."""
        natural = {name: width for name, width in natural.items() if width}
        inputs = natural.pop("inputs", 0)
        left = self._console.width - sum(natural.values()) - len(_GAP) * (len(natural) - 1)
        key = ", ".join(self._key_names) or "key"
        if left < 0 and key in natural:
            natural[key] = max(_LEAST_KEY, natural[key] + left)
        if inputs and left - len(_GAP) >= _LEAST_INPUTS:
            natural["inputs"] = min(inputs, left - len(_GAP))
        return natural

    def _line(self, cells: Mapping[str, str], style: str = "") -> None:
        parts = [_cut(cells.get(name, ""), width) for name, width in self._widths.items()]
        # Text, not markup: a value such as "[red]" is a value.
        line = Text(_GAP.join(parts).rstrip(), style=style)
        self._console.print(line, soft_wrap=True)


def _short(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values with the beginnings of hashes: 64 hex digits say nothing to a person."""
    return {n: f"{value[:_HASH]}…" if is_hashed(value) else value for n, value in values.items()}


def _time(record: Record) -> datetime:
    moment: datetime = record["scored_at"] if "scored_at" in record else record["received_at"]
    return moment


def _day(found: Sequence[Record]) -> str:
    days = {words.moment(_time(record))[:10] for record in found}
    return days.pop() if len(days) == 1 else ""


def _key_names(found: Sequence[Record]) -> tuple[str, ...]:
    names = {tuple(record.get("keys", {})) for record in found}
    return names.pop() if len(names) == 1 else ()


def _below(record: Record) -> str:
    if "refusal_id" in record:
        return "; ".join(map(words.violation, record["violations"]))
    return "; ".join(map(words.finding, record["findings"]))


def _natural(rows: Sequence[Mapping[str, str]]) -> dict[str, int]:
    """Return the width that each column needs; 0 for one that is empty throughout."""
    widths = {name: max(cell_len(flat(row.get(name, ""))) for row in rows) for name in rows[0]}
    return {name: max(width, cell_len(name)) if width else 0 for name, width in widths.items()}


def _cut(text: str, width: int) -> str:
    text = flat(text)
    if cell_len(text) <= width:
        return set_cell_size(text, width)
    return set_cell_size(text, width - 1) + "…"


def flat(text: str) -> str:
    """Return `text` on one line; a caller's text must not steer the terminal either."""
    return "".join(c if c.isprintable() else "⏎" if c == "\n" else "�" for c in text)
