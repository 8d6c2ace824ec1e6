"""One row, one answer: the same bits through every door, alone or beside any other rows."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass, replace
from datetime import timezone
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conformance_cases import N_ROWS, rows, served, target
from conformance_doors import (
    FAMILIES,
    FORMS,
    House,
    Request,
    Row,
    as_frame,
    as_rows,
    bits,
    kind_of,
    opened,
    request,
    rows_of,
)
from conformance_more import (
    ALL,
    BARE,
    BARE_CONTRACT,
    BY_MACHINE,
    REFUSED,
    TRANSFORMERS,
    bare,
    bare_rows,
)
from parity_table import (
    IN_BLOCKS,
    ROW_WISE,
    documented,
    last_steps,
    marked,
    place_of_last,
    whole_steps,
)

import asfitted
from asfitted.errors import BatchDependent
from asfitted.scoring import Scorer, outputs
from asfitted.scoring.scorer import unwrap

pytestmark = [
    pytest.mark.filterwarnings(f"ignore:{text}")
    for text in (
        # LightGBM and XGBoost see named columns in training and not in blocks of arrays.
        "X does not have valid feature names:UserWarning",
    )
]

SIZES = (2, 7, 63, 64, 65)
# Outside the observed range; with all that may be missing or unknown.
ALONE = (3, 0)
# All rows at once go through one door of each kind.
AT_ONCE = ("dataframe_split", "csv", "parquet")


@dataclass(frozen=True)
class Sent:
    """What is sent, whatever the model: known rows in several companies, by every door.

    Attributes
    ----------
    who : dict of str to list of int
        The rows that go together, by the name of the company.
    requests : dict of str to (Request, list of int)
        Beside each request the known rows that it holds, -1 for a stranger.
    to_record : list of str
        What has to stand on record of each row, its inputs and its keys.
    """

    known: list[Row]
    who: dict[str, list[int]]
    requests: dict[str, tuple[Request, list[int]]]
    frames: dict[str, tuple[pd.DataFrame, list[int]]]
    to_record: list[str]


def companies(n_rows: int) -> dict[str, list[int]]:
    """Return which rows go together: alone, in batches of several sizes, all in another order."""
    rng = np.random.default_rng(7)
    chosen = {f"alone-{row}": [row] for row in ALONE}
    chosen |= {f"size-{n}": rng.permutation(n_rows)[:n].tolist() for n in SIZES}
    return chosen | {"shuffled": rng.permutation(n_rows).tolist()}


@functools.cache
def sent(contract: asfitted.DataContract, bare: bool) -> Sent:
    """Write down all requests once."""
    known = as_rows(bare_rows(2, N_ROWS) if bare else served())
    strangers = as_rows(bare_rows(4, 80) if bare else rows(seed=4, n_rows=80))
    who = companies(len(known))
    requests = {
        f"{form}:{name}": (
            request(f"{form}:{name}", form, [known[i] for i in some], contract),
            some,
        )
        for form in FORMS
        for name, some in who.items()
        if name != "shuffled" or form in AT_ONCE
    }
    # Ten known rows scattered among strangers.
    places = np.random.default_rng(6).permutation(len(strangers))[:10].tolist()
    mixed = [places.index(i) if i in places else -1 for i in range(len(strangers))]
    among = [stranger if i < 0 else known[i] for i, stranger in zip(mixed, strangers, strict=True)]
    for form in FORMS:
        rid = f"{form}:strangers"
        requests[rid] = request(rid, form, among, contract), mixed
    frames = {
        f"{family}:{name}": (as_frame([known[i] for i in some], contract, family), some)
        for family in FAMILIES
        for name, some in who.items()
        if name not in {"size-2", "size-63", "size-64"}
    }
    return Sent(known, who, requests, frames, [recorded(row, contract) for row in known])


def recorded(row: Row, contract: asfitted.DataContract) -> str:
    """Return, as JSON, the inputs and keys that have to stand on record, whatever the door."""
    values = {name: row[name] for name in contract.columns}
    for name, value in values.items():
        kind = kind_of(contract, name)
        if value is not None and kind == "datetime":
            utc = value.astimezone(timezone.utc)
            values[name] = utc.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        elif value is not None and kind == "number":
            values[name] = float(value)
    inputs = {name: values[name] for name in contract.features}
    return json.dumps([inputs, {name: values[name] for name in contract.keys}])


def assert_parity(house: House, bare: bool = False) -> None:
    """Send the rows through every door, in every company, and compare answers and records."""
    given = sent(house.contract, bare)
    # The measure: what `FittedModel` answers before the model is saved.
    unsaved = asfitted.FittedModel(house.inside.pipeline)
    measure = unsaved.outputs(as_frame(given.known, house.contract, "numpy"))
    assert measure.iloc[:, 0].nunique() > 1
    outputs = rows_of(measure)
    expected, answers = bits(outputs), bits([house.answer(row) for row in outputs])

    asked = {}
    for name, (frame, rows_there) in given.frames.items():
        answered = house.inside.answered(frame)
        pd.testing.assert_series_equal(answered.outputs.dtypes, measure.dtypes)
        assert bits(rows_of(answered.outputs)) == [expected[i] for i in rows_there], name
        asked |= dict(zip(answered.prediction_ids, rows_there, strict=True))
    requests = [request for request, _ in given.requests.values()]
    some_again = [replace(r, id=f"turn-{r.id}") for r in requests if r.id.endswith("alone-3")]
    replies = zip(
        requests + some_again, house.together(requests) + house.in_turn(some_again), strict=True
    )

    on_record: dict[str, list[dict[str, Any]]] = {}
    found, batches = {}, {}
    for record in house.record().to_dict("records"):
        on_record.setdefault(record["request_id"], []).append(record)
        batches.setdefault(record["batch_id"], set()).add(record["request_id"])
        found[record["prediction_id"]] = record
    # They were not only sent together: rows of several requests were scored together.
    assert max(map(len, batches.values())) > 1
    for prediction_id, row in asked.items():
        assert_on_record(found[prediction_id], expected[row], given.to_record[row])
    for sent_request, reply in replies:
        rid = sent_request.id
        rows_there = given.requests[rid.removeprefix("turn-")][1]
        assert len(reply) == len(rows_there) == len(on_record[rid])
        for row, answer, stands in zip(rows_there, reply, on_record[rid], strict=True):
            if row >= 0:
                assert bits(answer) == answers[row], f"{rid}, row {row}"
                assert_on_record(stands, expected[row], given.to_record[row])


def assert_on_record(stands: dict[str, Any], expected: Any, to_record: str) -> None:
    assert bits(stands["outputs"]) == expected
    # Compared as JSON: to Python, 1 and 1.0 and True are equal.
    assert json.dumps([stands["inputs"], stands["keys"]]) == to_record


@pytest.mark.parametrize("name", list(ALL))
def test_the_same_answer_through_every_door(name: str, tmp_path: Path) -> None:
    train = rows(seed=1)
    prices = tmp_path / "prices.csv"
    prices.write_text("shop,price\nnorth,2.5\nsouth,4.25\nother,1.0\n", encoding="utf-8")
    case = ALL[name]
    with asfitted.resources(prices=prices):
        pipeline = case.pipeline().fit(train, target(case.target, train))
        scores = outputs.methods(Scorer(unwrap(pipeline)).estimator)
        predict_fn = "both" if "predict_proba" in scores else "predict"
        with opened(pipeline, train, tmp_path / "log", predict_fn) as house:
            assert_parity(house)
            whole, steps = house.inside.scorer.whole_steps, len(house.inside.scorer.steps)
    # The last step runs on all rows where it can and all before it do.
    assert (whole == steps) == (whole >= steps - 1 and place_of_last(case.pipeline()) == ROW_WISE)
    if name in TRANSFORMERS and name not in BY_MACHINE:
        # `python tests/conformance/parity_table.py` writes the document anew.
        assert documented()[name] == (ROW_WISE if whole else IN_BLOCKS)


@pytest.mark.parametrize("name", list(BARE))
def test_the_same_answer_where_the_frame_itself_is_computed_with(name: str, tmp_path: Path) -> None:
    """How the rows lie in memory follows the door and the company; the answer must not."""
    pipeline = bare(name)
    with opened(pipeline, bare_rows(1, 200), tmp_path / "log") as house:
        assert_parity(house, bare=True)
        # So many at once, each alone, that a batch is put together from single rows only.
        known = sent(BARE_CONTRACT, True).known
        singles = [request(f"one-{i}", "inputs", [r], BARE_CONTRACT) for i, r in enumerate(known)]
        replies = house.together(singles)
        # And put together of rows that were conformed each for itself.
        frames = [as_frame([row], BARE_CONTRACT, "numpy") for row in known]
        conformed = pd.concat([BARE_CONTRACT.conform(f).frame for f in frames], ignore_index=True)
        put_together = house.inside.score(conformed)["prediction"]
    expected = asfitted.FittedModel(pipeline).predict(as_frame(known, BARE_CONTRACT, "numpy"))
    assert bits([reply for (reply,) in replies]) == bits(expected.tolist())
    assert bits(put_together.tolist()) == bits(expected.tolist())


@pytest.mark.parametrize("name", list(REFUSED))
def test_what_looks_at_the_rows_beside_it_is_refused(name: str) -> None:
    train = rows(seed=1)
    pipeline = REFUSED[name]().fit(train, target("number", train))
    with pytest.raises(BatchDependent, match="depends on the rows beside it"):
        whole_steps(pipeline, train)


def test_the_document_names_what_is_tested_here() -> None:
    names = [*map(marked, TRANSFORMERS), *last_steps(), *REFUSED]
    assert sorted(documented()) == sorted(names)
    places = documented()
    assert {name: places[name] for name in last_steps()} == last_steps()
    assert {places[name] for name in REFUSED} == {"refused"}
