"""YAML that people write: read strictly, with no surprise types."""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import yaml


class _Loader(yaml.SafeLoader):
    """Safe YAML in which a date stays a string and a repeated key is an error."""


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
        if key in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {key!r} stands here twice", key_node.start_mark
            )
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
    return yaml.load(text, Loader=_Loader)


def inline(value: Any, indent: int = 0) -> str:
    """Return `value` as YAML in flow style, folded at 100 columns, to stand behind ``key: ``."""
    text = yaml.safe_dump(
        value, default_flow_style=True, width=96 - indent, allow_unicode=True, sort_keys=False
    )
    lines = [line.strip() for line in text.splitlines() if line != "..."]
    return ("\n" + " " * indent).join(lines)
