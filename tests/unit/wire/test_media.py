"""Content-Type by RFC 9110."""

from __future__ import annotations

import pytest

from asfitted.errors import RequestRefused
from asfitted.wire.media import media_type

JSON = "application/json"


@pytest.mark.parametrize(
    ("header", "charset"),
    [
        ("application/json", ""),
        (" Application/JSON\t", ""),
        ("application/json;", ""),
        ("application/json ;; charset=UTF-8 ; ", "utf-8"),
        ('application/json;charset="utf\\-8"', "utf-8"),
        ('application/json; x="charset=latin-1"; charset=utf-8', "utf-8"),
        ("application/json; xcharset=latin-1", ""),
        ("application/json; charset=latin-1", "latin-1"),
        ('application/json; a="\\";charset=x"', ""),
    ],
)
def test_what_is_one(header: str, charset: str) -> None:
    assert media_type(header) == (JSON, charset)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "json",
        "; charset=utf-8",
        "application / json",
        "application/json, text/csv",
        "application/json charset=utf-8",
        "application/json; charset",
        "application/json; charset=",
        "application/json; charset = utf-8",
        "application/json; charset=@",
        'application/json; charset="utf-8',
        "application/json; charset=utf-8; charset=utf-8",
        "application/json" + "; " * 2_000 + "=",
        'application/json; a="' + '\\"' * 20_000,
    ],
    ids=lambda header: header[:40] or "empty",
)
def test_what_is_none(header: str) -> None:
    with pytest.raises(RequestRefused) as caught:
        media_type(header)
    assert (caught.value.code, caught.value.status) == ("unsupported_media_type", 415)
