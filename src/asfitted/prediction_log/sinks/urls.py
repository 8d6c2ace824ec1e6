"""From a URL to a sink, and what of a URL may be shown."""

from __future__ import annotations

import os
import re
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from urllib.parse import unquote, urlsplit

from asfitted.errors import AsfittedError, ConfigError, StoreUnavailable, without_secrets
from asfitted.prediction_log.sinks.protocol import ENTRY_POINTS, Sink

_MEND = (
    "sqlite:///path, postgresql+psycopg://host/database, or, for Parquet files, "
    "s3://bucket/prefix, a folder, or mlflow+ and the URI of a tracking server"
)
# `sqlite:log.sqlite`, `mlflow+databricks`: a mistake, which as a folder would take records.
_LIKE_A_URL = r"[A-Za-z][A-Za-z0-9+.-]+:|mlflow\+|(sqlite|postgres|s3|file|http)[a-z+]*//"


def open_sink(url: str) -> Sink:
    """Return the sink that `url` names, not necessarily connected yet.

    Parameters
    ----------
    url : str
        ``sqlite:///path``, ``postgresql+psycopg://…``, ``s3://bucket/prefix``,
        ``file:///dir``, a plain path, ``mlflow+http://…``, or a scheme that a package
        registers under ``asfitted.sinks``.

    Raises
    ------
    ConfigError
        Where nothing is registered for the scheme, or its driver is not installed.
    StoreUnavailable
    """
    scheme = _scheme(url)
    if not url:
        raise ConfigError("no sink is named", "log.sink", _MEND)
    _refuse_ambiguous(url)
    if scheme in {"", "file"}:
        from asfitted.prediction_log.sinks.compaction import MergingParquetSink
        from asfitted.prediction_log.sinks.disk import DiskStore

        return MergingParquetSink(DiskStore(folder_of(url)))
    if scheme == "s3":
        from asfitted.prediction_log.sinks.compaction import MergingParquetSink
        from asfitted.prediction_log.sinks.s3 import S3Store

        return MergingParquetSink(S3Store(url))
    if scheme.startswith("mlflow+"):
        from asfitted.prediction_log.sinks.compaction import MergingParquetSink
        from asfitted.prediction_log.sinks.mlflow_artifacts import MlflowStore

        # Another machine may be at it: somebody has to know that none is.
        return MergingParquetSink(MlflowStore(url), merges_unasked=False)
    if scheme.partition("+")[0] in {"sqlite", "postgresql"}:
        from asfitted.prediction_log.sinks.sql import SqlSink

        return SqlSink(url)
    for entry in entry_points(group=ENTRY_POINTS, name=scheme):
        return _foreign(entry, url)
    others = sorted({entry.name for entry in entry_points(group=ENTRY_POINTS)})
    raise ConfigError(
        f"there is no sink for {scheme}:",
        public_name(url),
        "; ".join([_MEND, *([f"installed besides: {', '.join(others)}"] if others else [])]),
    )


def _foreign(entry: EntryPoint, url: str) -> Sink:
    """Return a sink of somebody else's, whose faults are told as ours are."""
    name = public_name(url)
    try:
        sink = entry.load()(url)
    except AsfittedError:
        raise
    except Exception as error:
        said = without_secrets(f"{type(error).__name__}: {error}")
        raise StoreUnavailable(f"the sink {entry.value} cannot be made: {said}", name) from error
    if not isinstance(sink, Sink) or sink.batch_rows < 1:
        raise ConfigError(
            f"what {entry.value} makes is no sink", name,
            "see asfitted.prediction_log.sinks.Sink, and run SinkConformance on it",
        )  # fmt: skip
    return sink


def _refuse_ambiguous(url: str) -> None:
    """Refuse a URL of which libraries would read different parts as host and password."""
    rest = url.partition("://")[2]
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if rest.count("@") > 1 or ("@" in rest and "@" not in authority):
        raise ConfigError(
            "the sink's URL has an @, / , ? or # within its user or password",
            public_name(url),
            "write them as %40, %2F, %3F and %23",
        )
    slip = "://" not in url and _scheme(url) != "file"
    if slip and (_scheme(url) or re.match(_LIKE_A_URL, url)):
        raise ConfigError(
            "the sink is neither a URL nor, it seems, a folder", public_name(url),
            f"{_MEND}; of a folder that is called so: ./ before it",
        )  # fmt: skip
    path = local_path(url)
    if path is not None and "~" in path.parts:
        raise ConfigError(
            "the sink's path has a ~, which only a shell understands", public_name(url),
            "write the home folder out",
        )  # fmt: skip
    if _scheme(url) == "file" and authority not in {"", "localhost"}:
        raise ConfigError("a file:// URL names a host", public_name(url), "file:///folder")
    try:
        urlsplit(url).port  # noqa: B018  reading it is what checks it
    except ValueError as error:
        raise ConfigError("the sink's URL is none", public_name(url), _MEND) from error


def folder_of(url: str) -> Path:
    """Return the absolute folder that a ``file:`` URL or a plain path names."""
    if _scheme(url) == "file":
        return Path(unquote(urlsplit(url).path)).absolute()
    return Path(url).absolute()


def local_path(url: str) -> Path | None:
    """Return where on this machine's disks a sink lies, None where it lies elsewhere."""
    scheme = _scheme(url)
    if scheme in {"", "file"}:
        return folder_of(url)
    name = url.partition(":///")[2].partition("?")[0]
    in_file = scheme.partition("+")[0] == "sqlite" and name not in {"", ":memory:"}
    return Path(name).absolute() if in_file and not name.startswith("file:") else None


def public_name(url: str) -> str:
    """Return `url` without user, password and options: what a sink is known by.

    Progress is kept under this name, so a new password does not ship everything
    anew, and no secret gets into a file, a message or a metric.

    Examples
    --------
    >>> public_name("postgresql+psycopg://ann:s3cret@db:5432/log?sslmode=require")
    'postgresql+psycopg://db:5432/log'
    >>> public_name("/srv/log")
    'file:///srv/log'
    """
    scheme = _scheme(url)
    if "://" not in url or scheme.partition("+")[0] == "sqlite":
        # Of a URL with a slip in it, which is a path then.
        url = re.sub(r"[^/]*:[^/]*@", "", url)
    if scheme in {"", "file"}:
        return folder_of(url).as_uri()
    if scheme.partition("+")[0] == "sqlite":
        path = url.partition(":///")[2].partition("?")[0]
        return f"{scheme}:///{os.path.abspath(path)}"
    rest = url.partition("://")[2].rpartition("@")[2].partition("?")[0]
    return f"{scheme}://{rest}"


def _scheme(url: str) -> str:
    # One letter is a drive of Windows.
    found = re.match(r"([A-Za-z][A-Za-z0-9+.-]+):/", url)
    return found.group(1).lower() if found else ""
