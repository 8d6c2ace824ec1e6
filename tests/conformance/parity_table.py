"""Where each transformer and estimator runs, as `docs/parity.md` tells it.

::

    python tests/conformance/parity_table.py      # writes the tables anew
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import pandas as pd
from conformance_cases import CASES, Case, rows, target
from conformance_more import BY_MACHINE, ESTIMATORS, REFUSED, TRANSFORMERS
from sklearn.model_selection import GridSearchCV

from asfitted.save._row_wise import is_of_trees, plan
from asfitted.scoring import Scorer

DOCUMENT = Path(__file__).resolve().parents[2] / "docs/parity.md"
START, END = "<!-- tables: parity_table.py -->", "<!-- end of tables -->"
ROW_WISE, IN_BLOCKS = "row-wise", "in blocks"


def whole_steps(pipeline: Any, reference: pd.DataFrame) -> int:
    """Return what saving notes: how many steps run on all rows at once."""
    scorer = Scorer(pipeline)
    return plan(scorer.steps, scorer.contract.conform(reference, keys=False).frame)


def where(pipeline: Any, reference: pd.DataFrame) -> str:
    """Return where the one transformer of a fitted pipeline runs."""
    assert len(Scorer(pipeline).steps) == 2
    return ROW_WISE if whole_steps(pipeline, reference) else IN_BLOCKS


def fitted(case: Case) -> tuple[Any, pd.DataFrame]:
    """Return a fitted pipeline and the rows that it was fitted on."""
    train = rows(seed=1)
    return case.pipeline().fit(train, target(case.target, train)), train


def last_steps() -> dict[str, str]:
    """Return what the pipelines of the suite end with, and where it runs at best."""
    pipelines = [case.pipeline() for case in (CASES | ESTIMATORS).values()]
    places = {last(pipeline): place_of_last(pipeline) for pipeline in pipelines}
    return dict(sorted(places.items(), key=lambda item: (item[1] != ROW_WISE, item[0].lower())))


def place_of_last(pipeline: Any) -> str:
    """Return where the last step runs when all before it run row-wise."""
    return ROW_WISE if is_of_trees(_pipeline(pipeline).steps[-1][1]) else IN_BLOCKS


def last(pipeline: Any) -> str:
    """Return what the document calls the last step of a pipeline or a search."""
    name = type(_pipeline(pipeline).steps[-1][1]).__name__
    return f"the best of a GridSearchCV of {name}" if isinstance(pipeline, GridSearchCV) else name


def _pipeline(pipeline: Any) -> Any:
    return pipeline.estimator if isinstance(pipeline, GridSearchCV) else pipeline


def marked(name: str) -> str:
    return f"{name} *" if name in BY_MACHINE else name


def documented() -> dict[str, str]:
    """Return the tables of the document: name to where it runs."""
    text = DOCUMENT.read_text(encoding="utf-8").partition(START)[2].partition(END)[0]
    return dict(re.findall(r"^\| (.+?) \| (row-wise|in blocks|refused) \|$", text, re.MULTILINE))


def tables() -> str:
    """Return the tables as Markdown, by what `plan` says here and now."""
    places = {name: where(*fitted(case)) for name, case in TRANSFORMERS.items()}
    order = sorted(places, key=lambda n: places[n] != ROW_WISE)
    said = [(marked(name), places[name]) for name in order]
    return "\n".join(
        [
            *_table("transformer", said),
            *_table("last step", list(last_steps().items())),
            *_table("a step that does this", [(name, "refused") for name in REFUSED]),
        ]
    )


def _table(what: str, lines: list[tuple[str, str]]) -> list[str]:
    return [f"| {what} | runs |", "|---|---|", *(f"| {n} | {place} |" for n, place in lines), ""]


def main() -> None:
    warnings.simplefilter("ignore")
    head, _, rest = DOCUMENT.read_text(encoding="utf-8").partition(START)
    _, _, tail = rest.partition(END)
    DOCUMENT.write_text(f"{head}{START}\n\n{tables()}\n{END}{tail}", encoding="utf-8")


if __name__ == "__main__":
    main()
