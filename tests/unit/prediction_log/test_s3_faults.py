"""Real faults between a shipper and a real S3: none lost, none twice, and clear words."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from contextlib import closing

import pyarrow.dataset as ds
import pyarrow.fs
import pytest
from faulty_proxy import Proxy
from log_batches import batch
from real_s3 import S3

from asfitted import _s3
from asfitted.errors import AsfittedError, ConfigError, StoreUnavailable
from asfitted.prediction_log import Journal
from asfitted.prediction_log.query import Query
from asfitted.prediction_log.shipper import Shipper
from asfitted.prediction_log.sinks import open_sink, sink_records
from asfitted.prediction_log.sinks.conformance import prediction


@pytest.fixture
def url(bucket) -> str:
    return f"s3://{bucket}/log"


@pytest.fixture
def proxy(s3, url, monkeypatch) -> Iterator[Proxy]:
    with Proxy(s3.port) as between:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", between.endpoint)
        yield between


@pytest.fixture
def once(monkeypatch) -> None:
    """Let boto3 try once and not wait long, so that every fault is seen by our code."""
    monkeypatch.setattr(_s3, "_TRIES", 1)
    monkeypatch.setattr(_s3, "_PATIENCE", {"connect_timeout": 1, "read_timeout": 1})


def ids_of(url: str) -> Counter[str]:
    found = sink_records(url, Query(), on_problem=pytest.fail)
    return Counter(record["prediction_id"] for record in found)


def as_others_see(url: str, s3) -> Counter[str]:
    where = pyarrow.fs.S3FileSystem(endpoint_override=s3.endpoint, scheme="http")
    found = ds.dataset(f"{url[5:]}/predictions", filesystem=where).to_table(["prediction_id"])
    return Counter(found.column(0).to_pylist())


@pytest.mark.parametrize("fault", ["500", "503", "refuse", "hang"])
@pytest.mark.parametrize("method", ["PUT", "GET"])
def test_a_fault_is_told_and_the_next_try_ships_each_once(
    tmp_path, url, proxy, once, fault, method
) -> None:
    with Journal(tmp_path) as journal, Shipper(tmp_path, url) as shipper:
        ids = journal.append(batch(3))
        proxy.fault = lambda asked, path: fault if asked == method else None
        with pytest.raises(StoreUnavailable, match=r"S3 does not (answer|do it)") as caught:
            shipper.ship()
        assert caught.value.where == url
        proxy.heal()
        ids += journal.append(batch(2))
        assert shipper.ship() == 5
    assert ids_of(url) == Counter(ids)


def test_an_answer_lost_after_the_put_is_known_as_done(tmp_path, s3, url, proxy) -> None:
    lost: list[str] = []

    def fault(method: str, path: str) -> str | None:
        if method == "PUT" and path.endswith(".parquet") and not lost:
            lost.append(path)
            return "drop"
        return None

    proxy.fault = fault
    with Journal(tmp_path) as journal, Shipper(tmp_path, url) as shipper:
        ids = journal.append(batch(3))
        # The retry of boto3 itself finds the name taken.
        assert shipper.ship() == 3
    assert len(lost) == 1
    assert as_others_see(url, s3) == Counter(ids)


def test_an_answer_lost_for_good_is_known_as_done_by_the_next_shipper(
    tmp_path, s3, url, proxy, once
) -> None:
    proxy.fault = lambda method, path: "drop" if path.endswith(".parquet") else None
    with Journal(tmp_path) as journal:
        ids = journal.append(batch(3))
        with Shipper(tmp_path, url) as shipper, pytest.raises(StoreUnavailable):
            shipper.ship()
        proxy.heal()
        # By then there are more, and the name of the file would be another.
        ids += journal.append(batch(2))
        with Shipper(tmp_path, url) as shipper:
            assert shipper.ship() == 5
    assert as_others_see(url, s3) == Counter(ids)


def test_half_of_a_file_is_no_file(url, proxy, once) -> None:
    with closing(open_sink(url)) as sink:
        rows = [prediction("a", n) for n in range(1, 50)]
        sink.write("predictions", rows)
        proxy.fault = lambda method, path: "cut" if path.endswith(".parquet") else None
        with pytest.raises(StoreUnavailable, match="S3 does not answer"):
            list(sink.read(Query()))
        proxy.heal()
        assert list(sink.read(Query())) == rows


def test_any_faults_in_any_order(tmp_path, s3, url, proxy, once) -> None:
    dice = random.Random()
    ids: list[str] = []
    failures = 0
    with Journal(tmp_path) as journal:
        for _ in range(40):
            ids += journal.append(batch(dice.randrange(1, 4)))
            proxy.fault = lambda *_: dice.choice(Proxy.FAULTS) if dice.random() < 0.3 else None
            try:
                with Shipper(tmp_path, url) as shipper:
                    shipper.ship()
            except StoreUnavailable:
                failures += 1
        proxy.heal()
        with Shipper(tmp_path, url) as shipper:
            shipper.ship()
    assert failures > 3
    assert ids_of(url) == Counter(ids)
    # Nothing was in flight when it was tried again, so no file repeats another.
    assert as_others_see(url, s3) == Counter(ids)


def test_faults_while_rows_are_changed_and_files_merged(url, proxy, once) -> None:
    rows = [prediction("a", n) for n in range(1, 41)]
    with closing(open_sink(url)) as sink:
        for n in range(0, 40, 4):
            sink.write("predictions", rows[n : n + 4])
    dice = random.Random()
    blank = tuple("{}" if name == rows[0][10] else name for name in rows[0])
    changes = {rows[0]: blank, **dict.fromkeys(rows[1::3])}

    def work(sink) -> None:
        sink.rewrite("predictions", Query(), lambda row: changes.get(row, row))
        sum(sink.compact(before="date=2026-11-25"))

    failures = 0
    for _ in range(30):
        proxy.fault = lambda *_: dice.choice(Proxy.FAULTS) if dice.random() < 0.2 else None
        try:
            with closing(open_sink(url)) as sink:
                sink.store.lease_s = -1  # whoever failed was silent for long enough
                work(sink)
        except StoreUnavailable:
            failures += 1
    proxy.heal()
    with closing(open_sink(url)) as sink:
        sink.store.lease_s = -1
        work(sink)
        assert list(sink.read(Query())) == [
            now for row in rows if (now := changes.get(row, row)) is not None
        ]
        assert failures > 3


def test_a_store_that_is_gone_for_a_while(tmp_path, monkeypatch, once) -> None:
    with S3() as server, server.bucket() as bucket:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        url = f"s3://{bucket}/log"
        with Journal(tmp_path) as journal, Shipper(tmp_path, url) as shipper:
            ids = journal.append(batch(3))
            shipper.ship()
            server.kill()
            ids += journal.append(batch(2))
            for _ in range(2):
                with pytest.raises(StoreUnavailable, match="S3 does not answer"):
                    shipper.ship()
            server.start()
            assert shipper.ship() == 2
        assert ids_of(url) == Counter(ids)


def test_days_models_and_versions_that_are_not_asked_for_are_not_read(url, proxy) -> None:
    day_us = 86_400_000_000
    start = prediction("a", 1)[5]
    rows = [
        prediction("a", n + 1, scored_at=start + n % 3 * day_us, model_version=str(n // 3))
        for n in range(9)
    ]
    with closing(open_sink(url)) as sink:
        sink.write("predictions", rows)
        proxy.seen.clear()
        query = Query(version="1", model="flights", since="2026-11-25", until="2026-11-26")
        assert list(sink.read(query)) == [rows[4]]
        assert len([path for _, path in proxy.seen if ".parquet" in path]) == 1
        assert len(proxy.seen) == 3  # the days, the files of one, the file
        proxy.seen.clear()
        assert list(sink.read(Query(model="another"))) == []
        assert len(proxy.seen) == 1


@pytest.mark.parametrize(
    ("changes", "code", "mend"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "not-the-secret"}, "SignatureDoesNotMatch", "AWS_PROFILE"),
        ({"AWS_ACCESS_KEY_ID": "nobody"}, "InvalidAccessKeyId", "AWS_ACCESS_KEY_ID"),
        ({"AWS_SECRET_ACCESS_KEY": ""}, "redentials", "AWS_SECRET_ACCESS_KEY"),
        ({"AWS_PROFILE": "none"}, "profile", ""),
        ({"AWS_ENDPOINT_URL_S3": "nowhere"}, "Invalid endpoint", ""),
    ],
)
def test_who_is_not_let_in_is_told_the_mend_and_no_secret(
    url, monkeypatch, changes, code, mend
) -> None:
    for name, value in changes.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=code) as caught, closing(open_sink(url)) as sink:
        sink.write("predictions", [prediction("a", 1)])
    assert mend in caught.value.mend
    assert caught.value.where == url
    assert "secret" not in str(caught.value)


def test_no_bucket_and_no_url(url) -> None:
    with closing(open_sink("s3://no-such-bucket/log")) as sink:
        for work in (
            lambda: sink.write("predictions", [prediction("a", 1)]),
            lambda: list(sink.read(Query())),
            lambda: sink.rewrite("predictions", Query(), lambda row: None),
        ):
            with pytest.raises(ConfigError, match="NoSuchBucket") as caught:
                work()
            assert "create the bucket" in caught.value.mend
    for wrong in ("s3://", "s3:///log", "s3://key:sesame@bucket", "s3://bucket?key=sesame"):
        with pytest.raises(ConfigError) as refused:
            open_sink(wrong)
        assert "sesame" not in str(refused.value)


@pytest.mark.parametrize("status", [501, 200])
def test_a_store_without_conditional_puts_is_refused(url, proxy, monkeypatch, status) -> None:
    handle = proxy._handle

    def no_conditions(request, port) -> None:
        if request.command == "PUT" and status == 501:
            proxy._answer(request, 501, {}, b"<Error><Code>NotImplemented</Code></Error>", None)
            request.close_connection = True
            return
        # A store that passes over what it does not know.
        del request.headers["If-None-Match"]
        handle(request, port)

    monkeypatch.setattr(proxy, "_handle", no_conditions)
    if status == 200:
        # The header is signed: the request is not what it was any more.
        monkeypatch.setattr(_s3, "client", unsigned(_s3.client))
    with closing(open_sink(url)) as sink, pytest.raises(AsfittedError) as caught:
        sink.write("predictions", [prediction("a", 1)])
    assert isinstance(caught.value, ConfigError)
    assert "If-None-Match" in str(caught.value)


def unsigned(client):
    """Return a client that keeps the condition out of the request, as if nobody knew it."""

    def make(where: str):
        made = client(where)
        made.meta.events.register(
            "before-sign.s3.PutObject",
            lambda request, **_: request.headers.__delitem__("If-None-Match"),
        )
        return made

    return make
