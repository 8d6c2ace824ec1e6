"""What a sink's URL may be, and that nothing of a password is ever shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from asfitted.config import Log, load_config
from asfitted.errors import AsfittedError, ConfigError, StoreUnavailable, without_secrets
from asfitted.prediction_log.query import Query
from asfitted.prediction_log.shipper import Shipper
from asfitted.prediction_log.shipping_stats import log_stats
from asfitted.prediction_log.sinks import open_sink, public_name, sink_records

SECRET = "s3cr3t"
UNESCAPED = [
    f"postgresql+psycopg://me:a@{SECRET}@127.0.0.1:1/db",
    f"postgresql+psycopg://me:{SECRET}?x@127.0.0.1/db",
    f"postgresql+psycopg://me:{SECRET}#x@127.0.0.1/db",
    f"postgresql+psycopg://me:a/{SECRET}@127.0.0.1/db",
    f"mlflow+http://me:{SECRET}/a@127.0.0.1:1",
]


@pytest.mark.parametrize("url", UNESCAPED)
def test_a_password_that_is_not_escaped_is_refused_unshown(url: str) -> None:
    with pytest.raises(ConfigError, match="%40, %2F, %3F and %23") as refused:
        open_sink(url)
    assert SECRET not in str(refused.value)
    assert SECRET not in public_name(url)
    with pytest.raises(ValueError, match=r"a password in log\.sink"):
        Log(sink=url)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        (f"postgresql+psycopg://me:{SECRET}@127.0.0.1:port/db", "the sink's URL is none"),
        (f"postgresql+psycopg://me:{SECRET}@[::1/db", "the sink's URL is none"),
        (f"mlflow+https://me:{SECRET}@[bad/x", "the sink's URL is none"),
        ("file://host/folder", "names a host"),
        (f"postgresql+psycopg:me:{SECRET}@host/db", "neither a URL nor"),
        (f"postgresql+psycopg:/me:{SECRET}@host/db", "neither a URL nor"),
        (f"postgresql+psycopg//me:{SECRET}@host/db", "neither a URL nor"),
        (f"mlflow+http:/me:{SECRET}@host", "neither a URL nor"),
        (f"mlflow+me:{SECRET}@host", "neither a URL nor"),
        (f"s3:/me:{SECRET}@bucket/x", "neither a URL nor"),
        (f"me:{SECRET}@host/db", "neither a URL nor"),
        # Gone with the process, and the journals after some days.
        ("sqlite://", "names none"),
        ("sqlite:///", "names none"),
        ("sqlite:///:memory:", "names none"),
        ("sqlite:///file:log?mode=memory&uri=true", "names none"),
        ("sqlite:log.sqlite", "neither a URL nor"),
        ("s3:bucket/prefix", "neither a URL nor"),
        ("mlflow+http//host", "neither a URL nor"),
        ("mlflow+databricks", "neither a URL nor"),
        ("~/predictions", "only a shell understands"),
        ("sqlite:///~/log.sqlite", "only a shell understands"),
        ("postgresql+psycopg2://host/db", r"does not know the driver postgresql\+psycopg2"),
    ],
)
def test_what_is_no_url_is_refused(url: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as refused:
        open_sink(url)
    assert SECRET not in str(refused.value)
    assert SECRET not in public_name(url)


@pytest.mark.parametrize(
    "url",
    [
        f"mlflow+http://me:{SECRET}@127.0.0.1:1",
        f"postgresql+psycopg://me:{SECRET}@127.0.0.1:1/db",
    ],
)
def test_an_error_of_a_library_does_not_show_the_password(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from log_batches import batch

    from asfitted.prediction_log import Journal

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with Journal(tmp_path) as journal:
        journal.append(batch())
    with pytest.raises(AsfittedError) as failed:
        list(sink_records(url))
    assert SECRET not in str(failed.value)
    with Shipper(tmp_path, url) as shipper, pytest.raises(AsfittedError) as failed:
        shipper.ship()
    assert SECRET not in str(failed.value)
    assert log_stats(tmp_path, url).status.error
    assert SECRET not in str(log_stats(tmp_path, url).as_dict())
    assert not [f for f in tmp_path.iterdir() if SECRET.encode() in f.read_bytes()]


def test_only_what_stands_before_the_host_goes() -> None:
    assert (
        without_secrets("at http://h/a@b and http://me:x@h/p") == "at http://h/a@b and http://h/p"
    )


def test_reading_makes_no_database(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/typo.sqlite"
    assert list(sink_records(url, Query())) == []
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(StoreUnavailable, match="folder is not there"):
        list(sink_records(f"sqlite:///{tmp_path}/typo/sink.sqlite"))


def test_what_looks_like_a_url_is_no_path_of_the_configuration(tmp_path: Path) -> None:
    file = tmp_path / "registry_config.yaml"

    def sink_of(sink: str) -> str | None:
        file.write_text(f"schema_version: 1\nlog: {{sink: '{sink}'}}\n")
        return load_config(file).log_sink()

    for mistake in ("sqlite:log.sqlite", "mlflow+databricks"):
        assert sink_of(mistake) == mistake
    assert sink_of("mlflow+sqlite:///mlflow.db") == f"mlflow+sqlite:///{tmp_path}/mlflow.db"
    assert sink_of("log") == str(tmp_path / "log")
    with pytest.raises(ValueError, match=r"a ~ in log\.folder"):
        Log(folder="~/log")
