"""Python's regular expressions for JSON Schema, whose expressions are ECMAScript's."""

from __future__ import annotations

import importlib
import re
import sys
from typing import Any

# Python's own parser: what is not known by name below is not translated.
_parser: Any = importlib.import_module("re._parser" if sys.version_info >= (3, 11) else "sre_parse")

_SYNTAX = frozenset("^$\\.*+?()[]{}|/")
_IN_CLASS = frozenset("^\\[]-/")
_SPACES = r"\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_AT = {
    "AT_BEGINNING": "^",
    "AT_BEGINNING_STRING": "^",
    "AT_END": r"(?=\n?$)",
    "AT_END_STRING": "$",
}


class _Untranslated(Exception):
    """Something that ECMAScript lacks, or takes for something else."""


def ecma(pattern: str) -> str | None:
    r"""Return an anchored ECMAScript expression that matches the same whole texts.

    Parameters
    ----------
    pattern : str
        One that Python compiles.

    Returns
    -------
    str or None
        None where there is none that every validator reads alike: with flags, references
        to groups, lookbehind, possessive quantifiers, conditions and word boundaries; and
        with ``\d`` and ``\w``, which mean digits and letters of all scripts to Python and
        those of ASCII to ECMAScript.

    Examples
    --------
    >>> ecma("[A-Z]{2}-.+")
    '^(?:[A-Z]{2}-[^\\n]+)$'
    >>> ecma(r"\d+") is None
    True
    """
    try:
        parsed = _parser.parse(pattern)
        if parsed.state.flags != re.UNICODE:
            return None
        return f"^(?:{_sequence(parsed)})$"
    except (_Untranslated, RecursionError):
        return None


def _sequence(parsed: Any) -> str:
    return "".join(_item(str(op), value) for op, value in parsed)


def _item(op: str, value: Any) -> str:
    if op == "LITERAL":
        return _literal(value, _SYNTAX)
    if op == "NOT_LITERAL":
        return f"[^{_literal(value, _IN_CLASS)}]"
    if op == "ANY":
        # ECMAScript's dot leaves out three more line breaks.
        return r"[^\n]"
    if op == "IN":
        return _class(value)
    if op == "BRANCH":
        return f"(?:{'|'.join(map(_sequence, value[1]))})"
    if op == "AT" and str(value) in _AT:
        return _AT[str(value)]
    if op == "SUBPATTERN":
        _, added, removed, inner = value
        if added or removed:
            raise _Untranslated
        return f"(?:{_sequence(inner)})"
    if op in {"MAX_REPEAT", "MIN_REPEAT"}:
        return _repeat(*value) + ("?" if op == "MIN_REPEAT" else "")
    if op in {"ASSERT", "ASSERT_NOT"} and value[0] > 0:
        return f"(?{'=' if op == 'ASSERT' else '!'}{_sequence(value[1])})"
    raise _Untranslated


def _repeat(low: int, high: Any, inner: Any) -> str:
    if inner.getwidth()[0] == 0:
        # Engines differ over repeating nothing.
        raise _Untranslated
    body = _sequence(inner)
    first, *more = [(str(op), value) for op, value in inner]
    if more or first[0] not in {"LITERAL", "NOT_LITERAL", "ANY", "IN", "SUBPATTERN"}:
        body = f"(?:{body})"
    unbounded = str(high) == "MAXREPEAT"
    short = {(0, True): "*", (1, True): "+"}.get((low, unbounded))
    if short or (low, high) == (0, 1):
        return body + (short or "?")
    return f"{body}{{{low}}}" if low == high else f"{body}{{{low},{'' if unbounded else high}}}"


def _class(items: Any) -> str:
    inside, negated = "", False
    for op, value in items:
        if str(op) == "NEGATE":
            negated = True
        elif str(op) == "LITERAL":
            inside += _literal(value, _IN_CLASS)
        elif str(op) == "RANGE":
            inside += "-".join(_literal(end, _IN_CLASS) for end in value)
        elif str(op) == "CATEGORY" and str(value) == "CATEGORY_SPACE":
            inside += _SPACES
        elif str(op) == "CATEGORY" and str(value) == "CATEGORY_NOT_SPACE" and len(items) == 1:
            inside, negated = _SPACES, True
        else:
            raise _Untranslated
    return f"[{'^' if negated else ''}{inside}]"


def _literal(code: int, special: frozenset[str]) -> str:
    letter = chr(code)
    if letter in special:
        return f"\\{letter}"
    if letter == "\n":
        return r"\n"
    if code < 0x20 or 0x7F <= code < 0xA0:
        return f"\\x{code:02x}"
    if 0xD800 <= code < 0xE000:
        # Half of a pair is no text of ours.
        raise _Untranslated
    return f"\\u{code:04x}" if code in {0xFEFF, 0x2028, 0x2029} else letter
