"""JSON in MLflow's four shapes, strictly: what is not plain is refused, nothing is guessed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from asfitted.contract.column import EXACT
from asfitted.errors import RequestRefused
from asfitted.wire.rows import Rows

SHAPES = ("dataframe_split", "dataframe_records", "inputs", "instances")
PARAMS: dict[str, type] = {"return_ids": bool}


def read_json(body: bytes, max_rows: int) -> Rows:
    """Return the rows of a JSON body.

    Parameters
    ----------
    body : bytes
        UTF-8; an object with one of ``dataframe_split``, ``dataframe_records``,
        ``inputs`` or ``instances``, and perhaps ``params``.
    max_rows : int

    Raises
    ------
    RequestRefused
    """
    content = _parse(body)
    if not isinstance(content, dict):
        raise RequestRefused(
            "no_payload", "the body is not a JSON object", f"send one of {', '.join(SHAPES)}"
        )
    given = [shape for shape in SHAPES if shape in content]
    if len(given) > 1:
        raise RequestRefused("two_payloads", f"the body holds {' and '.join(given)}", "send one")
    if not given:
        raise RequestRefused(
            "no_payload", "the body holds no rows", f"send one of {', '.join(SHAPES)}"
        )
    if content.keys() - {given[0], "params"}:
        raise RequestRefused(
            "unknown_key",
            "the body holds a key that means nothing here",
            f"send {given[0]} and, if you like, params",
        )
    columns, n_rows = _READERS[given[0]](content[given[0]], max_rows)
    try:
        "".join(columns).encode()
    except UnicodeEncodeError:
        raise _shape("the name of a column is not text") from None
    return Rows(columns, n_rows, _params(content.get("params", {})))


def _parse(body: bytes) -> Any:
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise RequestRefused("not_utf8", "the body is not UTF-8") from None
    try:
        return json.loads(
            text, object_pairs_hook=_object, parse_constant=_constant, parse_int=_integer
        )
    except RecursionError:
        raise RequestRefused("too_deep", "the body is nested too deeply") from None
    except ValueError:
        raise RequestRefused("not_json", "the body is not JSON") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise RequestRefused("duplicate_key", "an object of the body holds a key twice")
    return content


def _constant(name: str) -> Any:
    raise RequestRefused("not_json", f"{name} is not JSON", "send null for a missing value")


def _integer(text: str) -> int:
    # Beyond, a caller whose numbers are floats has sent another one already.
    if len(text) > 17 or not -EXACT <= int(text) <= EXACT:
        raise RequestRefused("number_out_of_range", "an integer of the body is beyond ±(2^53 − 1)")
    return int(text)


def _params(params: Any) -> dict[str, Any]:
    if not isinstance(params, dict) or params.keys() - PARAMS.keys():
        raise RequestRefused(
            "bad_params", "params are not those that are declared", f"declared: {', '.join(PARAMS)}"
        )
    for name, value in params.items():
        if type(value) is not PARAMS[name]:
            raise RequestRefused("bad_params", f"params.{name} is not {PARAMS[name].__name__}")
    return params


def too_many(n_rows: int, max_rows: int) -> RequestRefused:
    """Return the refusal of a request that holds more rows than one may."""
    return RequestRefused(
        "too_many_rows",
        f"the request holds {n_rows} rows, {max_rows} are allowed",
        "send fewer at a time",
        413,
    )


def _shape(what: str) -> RequestRefused:
    return RequestRefused("bad_shape", what)


def _split(content: Any, max_rows: int) -> tuple[dict[str, list[Any]], int]:
    if (
        not isinstance(content, dict)
        or content.keys() - {"columns", "data", "index"}
        or not {"columns", "data"} <= content.keys()
    ):
        raise _shape("dataframe_split is an object of columns, data and perhaps index")
    names, data = content["columns"], content["data"]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise _shape("dataframe_split.columns is a list of names")
    if len(set(names)) != len(names):
        raise RequestRefused("duplicate_column", "dataframe_split.columns holds a name twice")
    if not isinstance(data, list) or not all(isinstance(row, list) for row in data):
        raise _shape("dataframe_split.data is a list of rows, each a list of values")
    if len(data) > max_rows:
        raise too_many(len(data), max_rows)
    index = content.get("index")
    if index is not None and (not isinstance(index, list) or len(index) != len(data)):
        raise _shape("dataframe_split.index is a list of one label per row")
    if any(len(row) != len(names) for row in data):
        raise RequestRefused("ragged", "a row has more or fewer values than there are columns")
    return {name: [row[i] for row in data] for i, name in enumerate(names)}, len(data)


def _records(content: Any, max_rows: int) -> tuple[dict[str, list[Any]], int]:
    if not isinstance(content, list) or not all(isinstance(row, dict) for row in content):
        raise _shape("the rows are a list of objects, one per row")
    if len(content) > max_rows:
        raise too_many(len(content), max_rows)
    names = dict.fromkeys(name for row in content for name in row)
    # A key that is absent is a missing value, as it is where the row stands alone.
    return {name: [row.get(name) for row in content] for name in names}, len(content)


def _inputs(content: Any, max_rows: int) -> tuple[dict[str, list[Any]], int]:
    if isinstance(content, list):
        return _records(content, max_rows)
    if not isinstance(content, dict):
        raise _shape("inputs is an object of columns, or a list of rows")
    if not all(isinstance(values, list) for values in content.values()):
        raise _shape("inputs holds one list of values per column")
    lengths = {len(values) for values in content.values()}
    if len(lengths) > 1:
        raise RequestRefused("ragged", "the columns of inputs are not of one length")
    n_rows = lengths.pop() if lengths else 0
    if n_rows > max_rows:
        raise too_many(n_rows, max_rows)
    return content, n_rows


_READERS: dict[str, Callable[[Any, int], tuple[dict[str, list[Any]], int]]] = {
    "dataframe_split": _split,
    "dataframe_records": _records,
    "inputs": _inputs,
    "instances": _records,
}
