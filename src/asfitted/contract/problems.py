"""What is wrong with a contract, in the words of someone who edits its YAML."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from asfitted.contract.column import WrongRule


def problems(error: ValidationError) -> str:
    """Return each problem that pydantic found, and the path to it, on a line of its own."""
    return "\n  ".join(f"{_said(e)} @ {'.'.join(_path(e)) or 'contract'}" for e in error.errors())


def _path(error: Any) -> list[str]:
    # Below a column's rule pydantic names the types that it has tried.
    tried = {"int", "float", "str", "bool", "Fill"}
    path = [
        str(part)
        for i, part in enumerate(error["loc"])
        if i < 3 or not (part in tried or "[" in str(part))
    ]
    wrong = error.get("ctx", {}).get("error")
    return [*path, wrong.rule] if isinstance(wrong, WrongRule) else path


def _said(error: Any) -> str:
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "json_invalid" and "hex escape" in message:
        message = "a text holds half of a surrogate pair, which is no text"
    elif error["type"] == "extra_forbidden":
        message = f"unknown key {error['loc'][-1]!r}"
    elif error["type"] in {"string_type", "int_type"} and isinstance(error["input"], bool):
        message += " (YAML reads an unquoted yes, no, on, off as true or false: put it in quotes)"
    return message
