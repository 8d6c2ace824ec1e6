"""What a Parquet body may unpack to, and what is not unpacked at all."""

from __future__ import annotations

import io
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from wire_frames import frame_of

from asfitted.contract import Column, DataContract, Limits
from asfitted.errors import ContractViolation, RequestRefused
from asfitted.wire import parquet_pages
from asfitted.wire.parquet import read_parquet

CONTRACT = DataContract(
    limits=Limits(rows=100, bytes=100_000),
    extra_columns="ignore",
    columns={
        "n": Column(kind="number", missing="pass"),
        "txt": Column(kind="text", max_length=90_000),
    },
)


def written(table: pa.Table, **options: Any) -> bytes:
    stream = io.BytesIO()
    pq.write_table(table, stream, **{"compression": "zstd", **options})
    return stream.getvalue()


def code(body: bytes, rows: int = 100) -> str:
    with pytest.raises(RequestRefused) as caught:
        read_parquet(body, CONTRACT, rows)
    assert "zzz" not in str(caught.value)
    return caught.value.code


def table(n_rows: int = 1, **columns: Any) -> pa.Table:
    return pa.table({"n": [1.0] * n_rows, "txt": ["a"] * n_rows} | columns)


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("compression", ["zstd", "gzip", "snappy", "brotli", "lz4", "none"])
@pytest.mark.parametrize("dictionary", [True, False])
def test_pages_are_counted_as_they_unpack(version: str, compression: str, dictionary: bool) -> None:
    texts = [f"text {i}" for i in range(5_000)]
    whole = table(5_000, txt=texts)
    body = written(
        whole,
        compression=compression,
        data_page_version=version,
        use_dictionary=dictionary,
        data_page_size=2_000,
        row_group_size=1_234,
    )
    groups = parquet_pages.row_groups(body)
    assert [parquet_pages.n_rows(group) for group in groups] == [1_234] * 4 + [64]
    metadata = pq.ParquetFile(io.BytesIO(body)).metadata
    said = sum(
        metadata.row_group(g).column(c).total_uncompressed_size for g in range(5) for c in range(2)
    )
    # The footer counts the headers of the pages as well.
    assert 0.8 * said < parquet_pages.unpacked_bytes(body, groups, 10**9) <= said


def test_a_large_page() -> None:
    body = written(table(txt=["z" * 200_000]))
    assert len(body) < 3_000
    assert code(body) == "body_too_large"


def test_a_large_text_that_no_row_has() -> None:
    texts = pa.DictionaryArray.from_arrays(pa.array([0], pa.int8()), ["a", "z" * 200_000])
    body = written(table(txt=texts))
    assert len(body) < 3_000
    assert code(body) == "body_too_large"


def test_one_text_in_every_row() -> None:
    """Small as pages, for a dictionary holds it once; large as rows."""
    body = written(table(100, txt=["z" * 50_000] * 100))
    groups = parquet_pages.row_groups(body)
    assert parquet_pages.unpacked_bytes(body, groups, 10**9) < 60_000
    assert code(body) == "body_too_large"


@pytest.mark.parametrize("encoding", ["DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY"])
def test_texts_that_are_not_indices_into_the_distinct_ones(encoding: str) -> None:
    body = written(table(), use_dictionary=False, column_encoding={"txt": encoding})
    with pytest.raises(parquet_pages.PagesBroken, match="an encoding"):
        parquet_pages.unpacked_bytes(body, parquet_pages.row_groups(body), 10**9)
    assert code(body) == "not_parquet"


def test_a_nested_column_is_not_unpacked() -> None:
    nested = pa.array([[1.0, 2.0]])
    with pytest.raises(ContractViolation) as caught:
        read_parquet(written(table(n=nested)), CONTRACT, 100).conform(CONTRACT)
    assert [(v.column, v.rule, v.rows) for v in caught.value.violations] == [("n", "type", (0,))]
    # Beside the contract's columns it is one more that the contract does not know.
    conformed = read_parquet(written(table(x=nested)), CONTRACT, 100).conform(CONTRACT)
    assert [(f.column, f.rule) for f in conformed.findings] == [("x", "extra_column")]


def test_names_that_cannot_be_told_apart() -> None:
    assert code(written(table(**{"n.x": [[1]]}))) == "not_parquet"
    assert code(written(table(n=[{"x": 1}], **{"txt.y": [1]}))) == "not_parquet"


def test_texts_are_read_in_each_form_that_arrow_has() -> None:
    for kind in (pa.string(), pa.large_string(), pa.string_view()):
        for array in (pa.array(["é", "b"], kind), pa.array(["é", "b"], kind).dictionary_encode()):
            try:
                body = written(table(2, txt=array))
            except pa.ArrowNotImplementedError:
                continue
            frame = frame_of(read_parquet(body, CONTRACT, 100))
            assert CONTRACT.conform(frame).frame["txt"].tolist() == ["é", "b"]


def test_rows_are_those_of_all_groups() -> None:
    body = written(table(30), row_group_size=7)
    assert read_parquet(body, CONTRACT, 30).n_rows == 30
    assert code(body, 29) == "too_many_rows"
    assert read_parquet(written(table(0)), CONTRACT, 100).n_rows == 0


@pytest.mark.parametrize(
    "footer",
    [
        b"\xff" * 40,
        b"\x19\xfc\xff\xff\xff\xff\x0f",
        b"\x1c" * 300,
        b"\x15" + b"\xff" * 30,
        b"\x1b\x00",
    ],
    ids=["ones", "long list", "deep", "long number", "map"],
)
def test_a_footer_that_cannot_be_read(footer: bytes) -> None:
    body = b"PAR1" + footer + len(footer).to_bytes(4, "little") + b"PAR1"
    with pytest.raises(parquet_pages.PagesBroken):
        parquet_pages.row_groups(body)
    assert code(body) == "not_parquet"


def test_columns_beyond_all_reason() -> None:
    body = written(pa.table({f"c{i}": [1] for i in range(1_100)}))
    assert code(body) == "too_many_columns"
