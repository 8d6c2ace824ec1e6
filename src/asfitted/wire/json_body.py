"""JSON in MLflow's four shapes, strictly: what is not plain is refused, nothing is guessed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from json.decoder import JSONArray, JSONObject  # type: ignore[attr-defined]
from json.scanner import py_make_scanner  # type: ignore[attr-defined]
from typing import Any

from asfitted.contract import DataContract
from asfitted.contract.column import EXACT
from asfitted.errors import RequestRefused
from asfitted.wire.rows import MAX_STRANGERS, Rows, check_columns, check_rows

SHAPES = ("dataframe_split", "dataframe_records", "inputs", "instances")
# Smaller ones are read before anyone would notice.
_LARGE = 65_536
# Commas in the texts of a row, beside those between its values.
_MORE_COMMAS = 10
PARAMS: dict[str, type] = {"return_ids": bool}


def read_json(body: bytes, contract: DataContract, max_rows: int) -> Rows:
    """Return the rows of a JSON body.

    Parameters
    ----------
    body : bytes
        UTF-8; an object with one of ``dataframe_split``, ``dataframe_records``,
        ``inputs`` or ``instances``, and perhaps ``params``.
    contract : DataContract
        Says how many columns are too many; the values are for `conform` to judge.
    max_rows : int

    Raises
    ------
    RequestRefused
    """
    content = _parse(body, contract, max_rows)
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
    columns, n_rows = _READERS[given[0]](content[given[0]], contract, max_rows)
    if not _is_text(columns):
        raise _shape("the name of a column is not text")
    params = _params(content.get("params", {}))
    check_rows(columns, n_rows, contract)
    return Rows(columns, n_rows, params)


def _parse(body: bytes, contract: DataContract, max_rows: int) -> Any:
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise RequestRefused("not_utf8", "the body is not UTF-8") from None
    decoder = json.JSONDecoder(
        object_pairs_hook=_object,
        parse_constant=_constant,
        parse_int=_integer,
        parse_float=_float,
    )
    if len(text) > _LARGE:
        _give_way(decoder, text, contract, max_rows)
    try:
        return decoder.decode(text)
    except RecursionError:
        raise RequestRefused("too_deep", "the body is nested too deeply") from None
    except ValueError:
        raise RequestRefused("not_json", "the body is not JSON") from None


def _give_way(decoder: Any, text: str, contract: DataContract, max_rows: int) -> None:
    """Let other threads have their turn while `decoder` reads `text`, whatever that holds.

    The standard library's C code lets none run before it ends. So it gets the elements of a
    list one by one: a row, or a value of a column. Of a text that may hold other things than
    rows it gets nothing but the keys, and too many lists and objects end the reading.
    """
    n_columns = len(contract.columns)
    left = max_rows + n_columns + MAX_STRANGERS
    many = text.count("[") + text.count("{") > left
    many |= text.count(",") > left * (n_columns + _MORE_COMMAS)
    of_an_element = None if many else decoder.scan_once

    def counted(parse: Callable[..., Any]) -> Callable[..., Any]:
        def parsed(*given: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                what = f"the body holds more lists and objects than {max_rows} rows have"
                raise RequestRefused("too_many_rows", what, "send fewer rows", 413)
            return parse(*given)

        return parsed

    def elements(at: Any, scan: Any) -> Any:
        return JSONArray(at, of_an_element or scan)

    decoder.parse_object, decoder.parse_array = counted(JSONObject), counted(elements)
    decoder.scan_once = py_make_scanner(decoder)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise RequestRefused("duplicate_key", "an object of the body holds a key twice")
    return content


def _constant(name: str) -> Any:
    raise RequestRefused("not_json", f"{name} is not JSON", "send null for a missing value")


def _integer(text: str) -> int | float:
    if text == "-0":
        # What Go and C write for a negative zero, and what CSV makes of it.
        return -0.0
    # Beyond, a caller whose numbers are floats has sent another one already.
    if len(text) > 17 or not -EXACT <= int(text) <= EXACT:
        raise RequestRefused("number_out_of_range", "an integer of the body is beyond ±(2^53 − 1)")
    return int(text)


def _float(text: str) -> float:
    # In Python, so that other threads get their turn while a large body is read.
    return float(text)


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


def _is_text(texts: Iterable[str]) -> bool:
    """Whether no half of a surrogate pair stands in them."""
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:
        return False
    return True


def _split(content: Any, contract: DataContract, max_rows: int) -> tuple[dict[str, list[Any]], int]:
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
    if content.get("index") is not None and not _is_index(content["index"], len(data)):
        raise _shape("dataframe_split.index is a list of one label per row")
    check_columns(names, len(data), contract)
    if any(len(row) != len(names) for row in data):
        raise RequestRefused("ragged", "a row has more or fewer values than there are columns")
    return {name: [row[i] for row in data] for i, name in enumerate(names)}, len(data)


def _is_index(index: Any, n_rows: int) -> bool:
    """Whether it is what pandas writes there; it says nothing about the rows."""
    return (
        isinstance(index, list)
        and len(index) == n_rows
        and all(label is None or isinstance(label, (str, int, float)) for label in index)
        and _is_text(label for label in index if isinstance(label, str))
    )


def _records(
    content: Any, contract: DataContract, max_rows: int
) -> tuple[dict[str, list[Any]], int]:
    if not isinstance(content, list) or not all(isinstance(row, dict) for row in content):
        raise _shape("the rows are a list of objects, one per row")
    if len(content) > max_rows:
        raise too_many(len(content), max_rows)
    names = dict.fromkeys(name for row in content for name in row)
    check_columns(names, len(content), contract)
    # A key that is absent is a missing value, as it is where the row stands alone.
    return {name: [row.get(name) for row in content] for name in names}, len(content)


def _inputs(
    content: Any, contract: DataContract, max_rows: int
) -> tuple[dict[str, list[Any]], int]:
    if isinstance(content, list):
        return _records(content, contract, max_rows)
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
    check_columns(content, n_rows, contract)
    return content, n_rows


_READERS: dict[str, Callable[[Any, DataContract, int], tuple[dict[str, list[Any]], int]]] = {
    "dataframe_split": _split,
    "dataframe_records": _records,
    "inputs": _inputs,
    "instances": _records,
}
