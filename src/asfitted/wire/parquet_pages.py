"""What a Parquet file's pages unpack to, read from their own headers.

The footer says it too, but nobody holds the footer to it: Arrow allocates what each
page's header says, and a few KB of zstd unpack to gigabytes. Footer and headers are
structs of Thrift's compact protocol, and read here because asking Arrow for the
metadata of a column of a broken file can end the process (25.0.1):
github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift
"""

from __future__ import annotations

from typing import Any

Struct = dict[int, Any]

# Fields by number: of FileMetaData, RowGroup, ColumnChunk, ColumnMetaData, PageHeader.
_ROW_GROUPS = 4
_COLUMNS, _N_ROWS = 1, 3
_METADATA = 3
_COMPRESSED, _DATA_AT, _DICTIONARY_AT = 7, 9, 11
_UNPACKED, _PACKED = 2, 3
# The header of a data page of version 1 or 2, and where each names its encoding.
_ENCODINGS = {5: 2, 8: 4}
# Texts that Arrow does not give as indices into the distinct ones; where a value may
# repeat the beginning of the one before, a few bytes are a text of any length.
_DELTA_LENGTH_BYTE_ARRAY, _DELTA_BYTE_ARRAY = 6, 7
_DEPTH = 16
_MOST_ITEMS = 1_000_000


class PagesBroken(ValueError):
    """The footer or a page's header cannot be read, or names an encoding that is not."""


def row_groups(body: bytes) -> list[Struct]:
    """Return the row groups as the footer has them.

    Raises
    ------
    PagesBroken
    """
    n_bytes = int.from_bytes(body[-8:-4], "little")
    return _structs(_Compact(body, len(body) - 8 - n_bytes).struct(), _ROW_GROUPS)


def n_rows(group: Struct) -> int:
    """Return how many rows a row group says that it has."""
    return _whole(group, _N_ROWS)


def unpacked_bytes(body: bytes, groups: list[Struct], limit: int) -> int:
    """Return the bytes that the pages of row groups unpack to.

    Parameters
    ----------
    body : bytes
        The whole file.
    groups : list of dict
        Some of `row_groups`.
    limit : int
        Looking ends once it is exceeded.

    Raises
    ------
    PagesBroken
    """
    total = 0
    for group in groups:
        for chunk in _structs(group, _COLUMNS):
            metadata = _struct(chunk, _METADATA)
            start = _whole(metadata, _DATA_AT)
            if _DICTIONARY_AT in metadata:
                start = min(start, _whole(metadata, _DICTIONARY_AT))
            end = start + _whole(metadata, _COMPRESSED)
            if not 0 < start <= end <= len(body):
                raise PagesBroken("a column that lies outside of it")
            reader = _Compact(body, start)
            while reader.at < end:
                header = reader.struct()
                for kind, encoding in _ENCODINGS.items():
                    named = _struct(header, kind).get(encoding)
                    if named in (_DELTA_LENGTH_BYTE_ARRAY, _DELTA_BYTE_ARRAY):
                        raise PagesBroken("an encoding that is not read")
                total += _whole(header, _UNPACKED)
                if total > limit:
                    return total
                reader.at += _whole(header, _PACKED)
    return total


def _structs(struct: Struct, number: int) -> list[Struct]:
    items = struct.get(number)
    return items if isinstance(items, list) else []


def _struct(struct: Struct, number: int) -> Struct:
    inner = struct.get(number)
    return inner if isinstance(inner, dict) else {}


def _whole(struct: Struct, number: int) -> int:
    value = struct.get(number)
    if type(value) is not int or value < 0:
        raise PagesBroken("a number that is missing or negative")
    return value


class _Compact:
    """A reader of Thrift structs: fields by number; of texts nothing is kept."""

    def __init__(self, body: bytes, at: int) -> None:
        self.body, self.at = body, at

    def struct(self, depth: int = 0) -> Struct:
        if depth > _DEPTH:
            raise PagesBroken("a header that is nested too deeply")
        fields: Struct = {}
        number = 0
        while (head := self._byte()) != 0:
            number = number + (head >> 4) if head >> 4 else self._signed()
            if number in fields:
                raise PagesBroken("a field that stands there twice")
            fields[number] = self._value(head & 15, depth)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        if kind in {1, 2}:
            return kind == 1
        if kind == 3:
            return self._byte()
        if kind in {4, 5, 6}:
            return self._signed()
        if kind == 7:
            return self._skip(8)
        if kind == 8:
            return self._skip(self._unsigned())
        if kind in {9, 10}:
            return self._list(depth)
        if kind == 12:
            return self.struct(depth + 1)
        raise PagesBroken("a field of a type that no header has")

    def _list(self, depth: int) -> list[Any]:
        head = self._byte()
        kind, n_items = head & 15, head >> 4
        if n_items == 15:
            n_items = self._unsigned()
        if n_items > _MOST_ITEMS or depth > _DEPTH:
            raise PagesBroken("a list that is too long")
        # A boolean is a byte in a list, and none where it is a field.
        items = [
            self._byte() if kind in {1, 2} else self._value(kind, depth + 1) for _ in range(n_items)
        ]
        return items if kind == 12 else []

    def _byte(self) -> int:
        if not 0 <= self.at < len(self.body):
            raise PagesBroken("a header that ends too early")
        self.at += 1
        return self.body[self.at - 1]

    def _unsigned(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7
            if shift > 63:
                raise PagesBroken("a number that is too long")

    def _signed(self) -> int:
        value = self._unsigned()
        return (value >> 1) ^ -(value & 1)

    def _skip(self, n_bytes: int) -> None:
        self.at += n_bytes
