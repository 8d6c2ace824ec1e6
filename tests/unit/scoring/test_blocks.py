"""Blocks of a fixed number of rows, whatever holds the rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st

from asfitted.scoring.blocks import BLOCK_ROWS, in_blocks, is_several, n_rows, take

CONTAINERS = {
    "array": lambda n: np.arange(2.0 * n).reshape(n, 2),
    "vector": np.arange,
    "frame": lambda n: pd.DataFrame({"a": np.arange(n), "b": [str(i) for i in range(n)]}),
    "series": lambda n: pd.Series(np.arange(n)),
    "csr": lambda n: scipy.sparse.random(n, 5, density=0.4, format="csr", random_state=1),
    "csc": lambda n: scipy.sparse.random(n, 5, density=0.4, format="csc", random_state=1),
    "list": lambda n: [f"row {i}" for i in range(n)],
}


def plain(table: Any) -> list[Any]:
    if scipy.sparse.issparse(table):
        table = table.toarray()
    return table.to_numpy().tolist() if hasattr(table, "to_numpy") else np.asarray(table).tolist()


@pytest.mark.parametrize("container", CONTAINERS)
@given(rows=st.integers(1, 40), size=st.integers(1, 17))
def test_every_container_comes_back_whole_and_in_order(container, rows, size) -> None:
    table = CONTAINERS[container](rows)
    seen = []

    def call(block: Any) -> Any:
        seen.append(n_rows(block))
        return block

    assert plain(in_blocks(call, table, size)) == plain(table)
    assert seen == [size] * -(-rows // size)


def test_the_block_is_one_that_gives_the_same_bits() -> None:
    assert BLOCK_ROWS == 64


def test_the_last_block_is_filled_with_its_last_row() -> None:
    blocks = []
    in_blocks(lambda block: blocks.append(block.copy()) or block, np.arange(5), 3)
    assert [b.tolist() for b in blocks] == [[0, 1, 2], [3, 4, 4]]


def test_labels_of_the_index_are_not_passed_on() -> None:
    frame = pd.DataFrame({"a": [1, 2, 3]}, index=["same", "same", "same"])
    seen = []

    def joined(block: pd.DataFrame) -> pd.DataFrame:
        seen.append(block.index.tolist())
        return block.join(block.add_suffix("2"))  # on a repeated label this makes more rows

    result = in_blocks(joined, frame, 2)
    assert seen == [[0, 1], [0, 1]]
    assert result.to_numpy().tolist() == [[1, 1], [2, 2], [3, 3]]


@given(rows=st.integers(1, 20), size=st.integers(1, 7))
def test_several_results_are_put_together_one_by_one(rows, size) -> None:
    table = np.arange(rows)
    first, (second, third) = in_blocks(lambda b: [b * 2, [b + 1, b[:, None] * [1, 2]]], table, size)
    assert first.tolist() == (table * 2).tolist()
    assert second.tolist() == (table + 1).tolist()
    assert third.tolist() == (table[:, None] * [1, 2]).tolist()


def test_the_types_of_the_first_block_do_not_rule_the_others() -> None:
    labels = np.array(["a", "a", "longer"])
    assert in_blocks(lambda b: labels[b], np.arange(3), 2).tolist() == ["a", "a", "longer"]


@pytest.mark.parametrize("container", CONTAINERS)
def test_take(container) -> None:
    table = CONTAINERS[container](6)
    every = plain(table)
    assert plain(take(table, np.array([4, 0, 4]))) == [every[4], every[0], every[4]]
    assert plain(take(table, slice(0, 2))) == every[:2]


def test_a_list_of_rows_is_not_a_list_of_results() -> None:
    assert not is_several(["text", "text"])
    assert not is_several([["token", "token"], []])
    assert not is_several([])
    assert is_several([np.zeros(2), [np.zeros(2)]])
