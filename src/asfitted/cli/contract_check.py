"""A file in chunks, held to a contract as if it were one frame."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from asfitted.contract import DataContract
from asfitted.errors import ContractViolation, Violation

# So many broken rows say what is wrong with a file; more are not looked for.
MOST_ROWS = 1_000_000


def check_frames(
    frames: Iterable[pd.DataFrame], contract: DataContract, where: str, most_rows: int = MOST_ROWS
) -> tuple[int, dict[tuple[str, str], int]]:
    """Return the rows, and those of each finding by column and rule.

    Parameters
    ----------
    frames : iterable of DataFrame
        One after the other, what stands in the file.
    contract : DataContract
    where : str
        The file.
    most_rows : int
        Where so many rows are broken, the rest is not read.

    Raises
    ------
    ContractViolation
        Every failed check of all chunks, with positions in the whole file.
    """
    n_rows = 0
    findings: dict[tuple[str, str], int] = {}
    broken: dict[tuple[str, str, str], list[int]] = {}
    mend = ""
    chunks = iter(frames)
    while True:
        try:
            frame = next(chunks, None)
        except ContractViolation as error:
            # The file itself ends here; what it says of rows is of the whole file already.
            _add(broken, error, 0)
            where, mend = error.where, mend or error.mend
            n_rows = max([n_rows, *(v.n_rows for v in error.violations)])
            break
        if frame is None:
            break
        try:
            for finding in contract.conform(frame).findings:
                place = (finding.column, finding.rule)
                findings[place] = findings.get(place, 0) + len(finding.rows)
        except ContractViolation as error:
            _add(broken, error, n_rows)
            mend = mend or error.mend
        n_rows += len(frame)
        if sum(map(len, broken.values())) >= most_rows:
            mend = f"{mend}\n  only the first {n_rows:,} rows were looked at".strip()
            break
    if broken:
        raise ContractViolation(
            [Violation(*key, tuple(rows), n_rows) for key, rows in broken.items()], where, mend
        )
    return n_rows, findings


def _add(
    broken: dict[tuple[str, str, str], list[int]], error: ContractViolation, start: int
) -> None:
    for v in error.violations:
        rows = broken.setdefault((v.column, v.rule, v.what), [])
        rows += [start + row for row in v.rows]
