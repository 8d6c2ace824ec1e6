"""Spans of time as an option takes them."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import click

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class Duration(click.ParamType):  # type: ignore[type-arg]  # of older releases of click
    """A number and a unit, such as 30d or 12h."""

    name = "duration"

    def convert(self, value: Any, param: Any, ctx: Any) -> timedelta:
        found = re.fullmatch(r"(\d+)([smhdw])", str(value).strip())
        if found is None:
            self.fail(f"{value!r}: write 400d, 12h, 90m or 30s", param, ctx)
        try:
            return timedelta(**{_UNITS[found[2]]: int(found[1])})
        except OverflowError:
            self.fail(f"{value!r} is too long", param, ctx)
