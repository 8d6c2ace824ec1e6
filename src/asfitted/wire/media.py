"""Content-Type by RFC 9110: a media type, and the charset that its parameters name."""

from __future__ import annotations

import re

from asfitted.errors import RequestRefused

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_MEDIA = re.compile(rf"[ \t]*({_TOKEN}/{_TOKEN})")
_PARAMETER = re.compile(rf'[ \t]*;[ \t]*(?:({_TOKEN})=(?:({_TOKEN})|"((?:[^"\\]|\\.)*)"))?')


def media_type(header: str) -> tuple[str, str]:
    """Return the media type and the charset, in small letters; "" for a charset not named.

    Examples
    --------
    >>> media_type('Application/JSON; x="a;b"; Charset="UTF-8"')
    ('application/json', 'utf-8')

    Raises
    ------
    RequestRefused
        Where it is no media type, or names two charsets.
    """
    media = _MEDIA.match(header)
    charsets = []
    end = media.end() if media else 0
    while media and (parameter := _PARAMETER.match(header, end)):
        name, token, quoted = parameter.groups()
        if name and name.lower() == "charset":
            charsets.append(token or re.sub(r"\\(.)", r"\1", quoted or ""))
        end = parameter.end()
    if media is None or header[end:].strip(" \t") or len(charsets) > 1:
        raise RequestRefused("unsupported_media_type", "the Content-Type is not one", status=415)
    return media[1].lower(), "".join(charsets).lower() if charsets else ""
