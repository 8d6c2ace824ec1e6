"""What a store promises of single files, on the disk and in S3."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from faulty_proxy import Proxy

from asfitted.errors import ConfigError, StoreUnavailable
from asfitted.prediction_log.sinks import open_sink
from asfitted.prediction_log.sinks.disk import DiskStore
from asfitted.prediction_log.sinks.s3 import S3Store


@pytest.fixture(params=["disk", "s3"])
def store(request, tmp_path) -> Iterator[Any]:
    if request.param == "disk":
        yield DiskStore(tmp_path / "log")
        return
    made = S3Store(f"s3://{request.getfixturevalue('bucket')}/log")
    yield made
    made.close()


def test_a_name_that_is_taken_is_not_overwritten(store) -> None:
    assert store.put("a/b/1.parquet", b"first")
    assert not store.put("a/b/1.parquet", b"second")
    assert store.read("a/b/1.parquet") == b"first"
    assert store.read("a/b/2.parquet") is None


def test_folders_and_files_are_listed_one_level_deep(store) -> None:
    for name in ("a/b/1.parquet", "a/b/2.parquet", "a/c/1.parquet", "d/1.parquet"):
        store.put(name, b"12345")
    assert sorted(store.folders("a")) == ["b", "c"]
    assert store.files("a") == []
    assert [(each.name, each.size_bytes) for each in store.files("a/b")] == [
        ("a/b/1.parquet", 5), ("a/b/2.parquet", 5),
    ]  # fmt: skip
    assert store.folders("a/b") == store.folders("none") == store.files("none") == []


def test_other_content_has_another_tag_and_a_file_that_is_gone_is_gone(store) -> None:
    store.put("a/1.parquet", b"first")
    (old,) = store.files("a")
    with store.alone() as still_alone:
        still_alone()
        store.replace(old, b"other")
        (new,) = store.files("a")
        assert new.tag != old.tag
        assert store.read(new.name) == b"other"
        store.delete(new)
        store.delete(new)
    assert store.files("a") == []


def test_what_somebody_else_changed_is_neither_replaced_nor_deleted(bucket) -> None:
    store = S3Store(f"s3://{bucket}/log")
    store.put("a/1.parquet", b"first")
    (old,) = store.files("a")
    store.replace(old, b"other")
    with pytest.raises(StoreUnavailable, match="changed by somebody else"):
        store.replace(old, b"third")
    with pytest.raises(StoreUnavailable, match="changed by somebody else"):
        store.delete(old)
    assert store.read(old.name) == b"other"
    store.close()


def test_an_answer_lost_after_a_change_is_known_as_done(s3, bucket, monkeypatch) -> None:
    lost: list[str] = []

    def once_each(method: str, path: str) -> str | None:
        if method in lost or not path.endswith(".parquet"):
            return None
        lost.append(method)
        return "drop"

    with Proxy(s3.port) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.endpoint)
        store = S3Store(f"s3://{bucket}/log")
        store.put("a/1.parquet", b"first")
        (entry,) = store.files("a")
        proxy.fault = once_each
        store.replace(entry, b"other")
        (entry,) = store.files("a")
        assert store.read(entry.name) == b"other"
        store.delete(entry)
        assert store.read(entry.name) is None
        store.close()
    assert sorted(lost) == ["DELETE", "GET", "PUT"]


@pytest.mark.parametrize("prefix", ["x//y", "x/../y", "./x", "x/."])
def test_a_prefix_that_a_store_may_take_for_a_path_is_refused(bucket, prefix) -> None:
    with pytest.raises(ConfigError, match="the prefix has an empty part"):
        open_sink(f"s3://{bucket}/{prefix}")
    open_sink(f"s3://{bucket}//x/y/").close()
