"""YAML that people write: read strictly, with no surprise types."""

from __future__ import annotations

import json
import re
from collections.abc import Hashable, Sequence
from typing import Any

import yaml


class _Loader(yaml.SafeLoader):
    """Safe YAML in which a date stays a string, and keys are texts that stand there once."""


# YAML 1.1 reads 2013-01-01 as a date and 12:30 as 750; people mean the text.
_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern)
        for tag, pattern in resolvers
        if tag not in {"tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:int"}
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"^[-+]?(0|[1-9][0-9]*)$"), list("-+0123456789")
)


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Hashable, Any]:
    seen: set[Hashable] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        problem = ""
        if not isinstance(key, str):
            # An unquoted no, null or 1; json would make the text "false" of it.
            problem = f"the key {key!r} is not text: put it in quotes"
        elif key in seen:
            problem = f"the key {key!r} stands here twice"
        if problem:
            raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


def load(text: str) -> Any:
    """Return what `text` says.

    Raises
    ------
    yaml.YAMLError
        With the line and column of the problem.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except RecursionError:
        raise yaml.YAMLError("nested too deeply") from None


def line_of(text: str, path: Sequence[str | int]) -> int:
    """Return the line, from 1, of a key or an item of `text`, or of what it would stand in.

    Parameters
    ----------
    text : str
        YAML that `load` reads.
    path : sequence of str or int
        Keys and positions, from the outermost.
    """
    node, line = yaml.compose(text, Loader=_Loader), 1
    for part in path:
        found = None
        if isinstance(node, yaml.MappingNode):
            found = next((pair for pair in node.value if pair[0].value == part), None)
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            found = next(((item, item) for item in node.value[part:]), None)
        if found is None:
            break
        line, node = found[0].start_mark.line + 1, found[1]
    return line


class _Dumper(yaml.SafeDumper):
    """Safe YAML in which a text with line breaks stands escaped, on one line."""


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    # str.splitlines knows every break that YAML knows, and more.
    style = '"' if text.splitlines() not in ([], [text]) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def inline(value: Any, indent: int = 0) -> str:
    """Return `value` as YAML in flow style, folded at 100 columns, to stand behind ``key: ``."""
    if not isinstance(value, list):
        return ("\n" + " " * indent).join(_lines(value, 96 - indent))
    # YAML itself would fold within an item, at a blank of its text.
    lines = ["["]
    for i, item in enumerate(value):
        text = _item(item) + ("]" if i == len(value) - 1 else ",")
        if len(lines[-1]) + len(text) > 95 - indent:
            lines.append(text)
        else:
            lines[-1] += text if lines[-1] == "[" else f" {text}"
    return ("\n" + " " * indent).join(lines) if value else "[]"


def _item(value: Any) -> str:
    """Return one item of a flow list, on one line."""
    lines = _lines([value], 2**31)
    # What YAML would spread over lines, JSON has in one; YAML reads JSON.
    return lines[0][1:-1] if len(lines) == 1 else json.dumps(value)


def key(name: str) -> str:
    """Return `name` as the key of a mapping, which YAML wants on one line."""
    return "".join(_lines(name, 2**31))


def _lines(value: Any, width: int) -> list[str]:
    text: str = yaml.dump(
        value,
        Dumper=_Dumper,
        default_flow_style=True,
        width=width,
        allow_unicode=True,
        sort_keys=False,
    )
    return [line.strip(" ") for line in text.removesuffix("...\n").split("\n") if line]
