"""One fuzzed body against the readers and the contract, and a great many of them."""

from __future__ import annotations

import multiprocessing
import os
import random
import re
import struct
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fuzz_oracle as oracle
import pandas as pd
from fuzz_bodies import CANARY, CANARY_DIGITS, PARQUET, STRANGER, Body, body

from asfitted.contract import Conformed, DataContract
from asfitted.errors import ContractViolation, RequestRefused
from asfitted.serving.replies import refusal
from asfitted.wire.csv import read_csv_body
from asfitted.wire.json_body import read_json
from asfitted.wire.parquet import read_parquet

LARGEST_REPLY = 4_096
LEAK = re.compile(
    rf"Traceback|site-packages|\.py\b|/usr|/tmp|passwd|script|{CANARY}|{CANARY_DIGITS}|{STRANGER}"
)


def read(body: Body) -> Conformed:
    """Read a body and hold it to its contract, as the server does."""
    contract = body.contract
    limit = contract.limits.rows
    if body.media == PARQUET:
        rows = read_parquet(body.content, contract, limit)
    elif body.media == "text/csv":
        rows = read_csv_body(body.content, contract, limit)
    else:
        rows = read_json(body.content, contract, limit)
    conformed = rows.conform(contract)
    assert len(conformed.frame) == rows.n_rows
    return conformed


def expected(body: Body) -> list[oracle.Row] | None:
    """Return the rows that the body holds, None where it must be refused."""
    try:
        if body.media == PARQUET:
            assert body.table is not None
            return oracle.from_table(body.table, body.contract)
        if body.media == "text/csv":
            return oracle.from_csv(body.content, body.contract)
        return oracle.from_json(body.content, body.contract)
    except oracle.Invalid:
        return None


def said(conformed: Conformed, contract: DataContract) -> list[oracle.Row]:
    """Return conformed rows as the oracle has them."""
    columns: dict[str, list[Any]] = {}
    for frame in (conformed.frame, conformed.keys):
        for name in frame.columns:
            series, kind = frame[name], contract.columns[name].kind
            missing = series.isna().to_numpy()
            values: list[Any] = series.tolist()
            if kind == "datetime":
                assert series.dtype == "datetime64[us]"
                values = _moments(series)
            elif kind == "boolean":
                values = [value == 1 for value in values]
            elif kind == "integer":
                values = [0 if gone else int(v) for v, gone in zip(values, missing, strict=True)]
            columns[name] = [None if gone else v for v, gone in zip(values, missing, strict=True)]
    names = [name for name in contract.columns if name in columns]
    return [{n: columns[n][i] for n in names} for i in range(len(conformed.frame))]


def _moments(series: pd.Series[Any]) -> list[Any]:
    return series.to_numpy().astype("datetime64[us]").astype(object).tolist()


def bits(rows: list[oracle.Row]) -> list[list[tuple[str, str, Any]]]:
    """Return rows so that they are equal only where types and last bits are."""
    return [
        [
            (n, type(v).__name__, struct.pack("<d", v) if type(v) is float else v)
            for n, v in r.items()
        ]
        for r in rows
    ]


def wrong_with(body: Body) -> tuple[str, str]:
    """Return (how the body ended, what is wrong with that or "")."""
    try:
        conformed = read(body)
    except (RequestRefused, ContractViolation) as error:
        reply = refusal(error, "0" * 32)
        leak = LEAK.search(reply.body.decode())
        problem = ""
        if not 400 <= reply.status < 500:
            problem = f"status {reply.status}"
        elif len(reply.body) > LARGEST_REPLY:
            problem = f"{len(reply.body)} bytes of refusal"
        elif leak:
            problem = f"the reply shows {leak[0]!r}"
        elif (body.table is not None or body.media != PARQUET) and expected(body) is not None:
            problem = f"refused, and is good: {error}"
        return reply.code, problem
    except Exception as error:
        return type(error).__name__, f"{type(error).__name__}: {error}"
    if body.media == PARQUET and body.table is None:
        # Bytes changed in it may have made another file of it, and a good one.
        return "good", _not_allowed(conformed, body.contract)
    rows = expected(body)
    if rows is None:
        return "good", "accepted, and must be refused"
    got = said(conformed, body.contract)
    return "good", "" if bits(got) == bits(rows) else f"read as {got}, is {rows}"


def _not_allowed(conformed: Conformed, contract: DataContract) -> str:
    """Hold conformed rows to their contract, by what the pipeline sees."""
    for row in said(conformed, contract):
        for name, value in row.items():
            column = contract.columns[name]
            try:
                if value is None:
                    assert column.missing == "pass" or column.unknown == "missing"
                elif value not in getattr(column, "labels", ()):
                    oracle.cell(value, column)
            except (oracle.Invalid, AssertionError):
                return f"{name} is {value!r}"
    return ""


@dataclass
class Tally:
    """What came of many bodies."""

    ends: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    grown_bytes: int = 0


def run(seed: int, n_bodies: int, kinds: str = "jjjjccp") -> Tally:
    """Try bodies from one seed on; memory is measured after the first tenth of them."""
    rng, tally, before = random.Random(seed), Tally(), 0
    for i in range(n_bodies):
        if i == n_bodies // 10:
            before = resident_bytes()
        one = body(rng, kinds)
        end, problem = wrong_with(one)
        tally.ends[f"{one.media} {end}"] += 1
        if problem and len(tally.wrong) < 10:
            tally.wrong.append(f"seed {seed}, body {i}: {problem}: {one.content[:1500]!r}")
    tally.grown_bytes = resident_bytes() - before
    return tally


def resident_bytes() -> int:
    """Return what this process holds in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def run_on_all_cores(seed: int, n_bodies: int) -> list[Tally]:
    """Share the bodies between processes, one per core, each with a seed of its own."""
    n = os.cpu_count() or 1
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(n, mp_context=spawn) as pool:
        return list(pool.map(run, range(seed, seed + n), [n_bodies // n] * n))
