"""What is wrong with a contract, in the words of someone who edits its YAML."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from asfitted import _yaml
from asfitted.contract.checks import Check
from asfitted.contract.column import Column, Fill, WrongRule
from asfitted.contract.hints import did_you_mean
from asfitted.contract.sections import Limits, Output

# What other tools call a kind.
_OTHER_NAMES = {
    "string": "text",
    "str": "text",
    "object": "text",
    "float": "number",
    "double": "number",
    "decimal": "number",
    "int": "integer",
    "bool": "boolean",
    "enum": "category",
    "timestamp": "datetime",
}
Path = tuple[str | int, ...]


def problems(error: ValidationError, text: str, contract: type[BaseModel]) -> str:
    """Return each problem that pydantic found, its path and its line, on a line of its own.

    Parameters
    ----------
    error : ValidationError
    text : str
        The YAML that was read.
    contract : type
        The model of the whole.
    """
    found = [(_path(one), one) for one in error.errors()]
    lines = []
    for path, one in found:
        if not _is_besides(path, one, found):
            where = ".".join(map(str, path)) or "contract"
            lines.append(f"{_said(path, one, contract)} @ {where}{_line(text, path)}")
    return "\n  ".join(lines)


def _line(text: str, path: Path) -> str:
    return f", line {_yaml.line_of(text, path)}" if path else ""


def _path(error: Any) -> Path:
    # Below a column's rule pydantic names the types that it has tried.
    tried = {"int", "float", "str", "bool", "Fill"}
    path = tuple(
        part
        for i, part in enumerate(error["loc"])
        if i < 2 or not (part in tried or "[" in str(part))
    )
    wrong = error.get("ctx", {}).get("error")
    return (*path, *wrong.path) if isinstance(wrong, WrongRule) else path


def _is_besides(path: Path, error: Any, found: Sequence[tuple[Path, Any]]) -> bool:
    """Whether an error only says that `missing` is none of the other forms that it may have."""
    if path[-1:] != ("missing",):
        return False
    if error["type"] == "literal_error":
        return any(other[: len(path)] == path and other != path for other, _ in found)
    return any(
        other == path and one["type"] == "literal_error" and one is not error
        for other, one in found
    )


def _said(path: Path, error: Any, contract: type[BaseModel]) -> str:
    message = str(error["msg"]).removeprefix("Value error, ")
    said = error["input"]
    if error["type"] == "json_invalid" and "hex escape" in message:
        return "a text holds half of a surrogate pair, which is no text"
    if error["type"] == "extra_forbidden":
        known = list(_model(path[:-1], contract).model_fields)
        return f"unknown key {path[-1]!r}{did_you_mean(str(path[-1]), known, known)}"
    if error["type"] == "literal_error" and isinstance(said, str):
        options = re.findall(r"'(\w+)'", error["ctx"]["expected"])
        near = [_OTHER_NAMES[said]] if path[-1:] == ("kind",) and said in _OTHER_NAMES else options
        shown = [*options, "{fill: …}"] if path[-1:] == ("missing",) else options
        return f"{said[:40]!r} is none of {', '.join(shown)}{did_you_mean(said, near)}"
    if error["type"] in {"string_type", "int_type"} and isinstance(said, bool):
        message += " (YAML reads an unquoted yes, no, on, off as true or false: put it in quotes)"
    return message


def _model(path: Path, contract: type[BaseModel]) -> type[BaseModel]:
    match path:
        case ("columns" | "target", _):
            return Column
        case ("columns" | "target", _, "missing"):
            return Fill
        case ("limits",):
            return Limits
        case ("output",):
            return Output
        case ("row_checks", _) | ("output", "checks", _):
            return Check
    return contract
