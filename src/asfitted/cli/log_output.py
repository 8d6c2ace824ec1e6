"""How records of the prediction log are printed: a table, JSON, CSV, or one in full."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import click

from asfitted.cli.log_table import LogTable
from asfitted.errors import ConfigError, StoreUnavailable
from asfitted.prediction_log import words
from asfitted.prediction_log.exporting import plain, spooled, write_cells
from asfitted.prediction_log.frame import flat, flat_names
from asfitted.prediction_log.reader import Record
from asfitted.prediction_log.tables import TABLES, Table

SCHEMA_VERSION = 1

# What goes to a temporary file beyond: a whole log is printed, too.
_IN_MEMORY_BYTES = 32 * 1024**2


def print_records(found: Iterable[Record], form: str, columns: list[str], table: Table) -> int:
    """Print `found` in the form asked for, as one whole or not at all; return how many they are."""
    if form == "table":
        records = list(found)
        stream(form, columns, whole=True)(records)
        return len(records)
    expanded = form == "csv" or bool(columns)
    rows = (plain(flat(record) if expanded else record) for record in found)
    out = sys.stdout
    with tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES, mode="w+", encoding="ascii") as spool:
        # What columns there are is known behind the last record.
        try:
            count, kinds = spooled(rows, spool)
            spool.seek(0)
        except OSError as error:
            raise StoreUnavailable(
                f"the answer cannot be kept meanwhile: {error.strerror or error}",
                tempfile.gettempdir(),
                "make room there, or name another folder in TMPDIR",
            ) from error
        if columns and count:
            _demand(columns, flat_names([kinds]))
        if form == "csv":
            names = columns or flat_names([kinds]) or list(TABLES[table])
            write_cells(out, map(json.loads, spool), names)
        else:
            lines = (json.dumps(_only(json.loads(line), columns)) if columns else line.rstrip("\n")
                     for line in spool)  # fmt: skip
            out.write(f'{{"schema_version": {SCHEMA_VERSION}, "records": [')
            for number, line in enumerate(lines):
                out.write(f", {line}" if number else line)
            out.write("]}\n")
    out.flush()
    return count


def stream(
    form: str, columns: list[str], *, whole: bool = False
) -> Callable[[Sequence[Record]], None]:
    """Return a function that prints records as they come: JSON lines, or rows of one table."""
    table = LogTable(whole=whole)

    def show(found: Sequence[Record]) -> None:
        rows = _select(found, columns) if columns else found
        if form == "json":
            for row in rows:
                click.echo(_json({"schema_version": SCHEMA_VERSION, "record": row}))
        elif columns:
            table.add_columns([{n: words.scalar(_plain(v)) for n, v in r.items()} for r in rows])
        else:
            table.add(rows)

    return show


def _select(found: Sequence[Record], columns: list[str]) -> list[Record]:
    rows = [flat(record) for record in found]
    if rows:
        _demand(columns, flat_names(rows))
    return [_only(row, columns) for row in rows]


def _demand(columns: list[str], names: list[str]) -> None:
    unknown = [name for name in columns if name not in names]
    if unknown:
        raise ConfigError(
            f"there is no column {unknown[0]!r}", mend=f"there are {', '.join(names)}"
        )


def _only(row: Record, columns: list[str]) -> Record:
    return {name: row.get(name) for name in columns}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat(timespec="microseconds").replace("+00:00", "Z")
    return value


def as_json(found: Sequence[Record]) -> str:
    """Return the one object that ``--json`` prints; times are ISO 8601 with Z."""
    return _json({"schema_version": SCHEMA_VERSION, "records": found})


def _json(value: Any) -> str:
    return json.dumps(value, default=_plain)


def in_full(record: Record) -> str:
    """Return all of one prediction for a person, values exact."""
    row = {
        "prediction": record["prediction_id"],
        "scored": f"{words.moment(record['scored_at'], 'microseconds')} UTC",
        "received": f"{words.moment(record['received_at'], 'microseconds')} UTC",
        "took": f"{record['latency_us'] / 1000:g} ms",
        "model": f"{words.model(record)}, {record['model_digest']}",
        "contract": record["contract_digest"],
        "request": f"{record['request_id']}, row {record['row']}",
        "batch": record["batch_id"],
        "written": f"{record['source']}, by {record['writer']} as number {record['sequence']}",
        **_outcome(record),
    }
    sections = [_section("", row)]
    for name in ("keys", "outputs", "inputs", "params"):
        exact = {n: json.dumps(v, ensure_ascii=False) for n, v in record[name].items()}
        sections.append(_section(name, exact))
    said = "\n".join(f"  {words.finding(entry)}" for entry in record["findings"])
    sections.insert(3, f"findings\n{said}" if said else "")
    return "\n".join(filter(None, sections))


def _outcome(record: Record) -> dict[str, str]:
    if record.get("outcome_recorded_at") is None:
        return {}
    seen, recorded = record["outcome_observed_at"], record["outcome_recorded_at"]
    when = f"observed {words.moment(seen)} UTC, " if seen is not None else ""
    value = json.dumps(record["outcome"], ensure_ascii=False)
    return {"outcome": f"{value}, {when}recorded {words.moment(recorded)} UTC"}


def _section(title: str, values: Mapping[str, str]) -> str:
    if not values:
        return ""
    wide = max(map(len, values))
    indent = "  " if title else ""
    lines = [f"{indent}{name:<{wide}}  {value}" for name, value in values.items()]
    return "\n".join([title, *lines] if title else lines)
