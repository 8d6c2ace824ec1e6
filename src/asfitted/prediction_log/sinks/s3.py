"""A dataset's files in a bucket of S3, or of a store that speaks as S3 does."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from asfitted import _s3
from asfitted.errors import ConfigError, StoreUnavailable
from asfitted.prediction_log.sinks.s3_lease import lease, put_if
from asfitted.prediction_log.sinks.store import Entry, settled

_LEASE = ".asfitted-lease"
_PROBE = ".asfitted-probe"


class S3Store:
    """A `Store` that needs no lock to add a file: each put says that the name must be new.

    Parameters
    ----------
    url : str
        ``s3://bucket/prefix``; the bucket has to be there.

    Attributes
    ----------
    lease_s : float
        After this time without a word, one that merged or changed files is taken for dead.

    Raises
    ------
    ConfigError
    """

    lease_s = 900.0

    def __init__(self, url: str) -> None:
        self._bucket, self._prefix = _s3.place_of(url)
        self.where = f"s3://{self._bucket}/{self._prefix}".rstrip("/")
        if self._prefix and {"", ".", ".."} & set(self._prefix[:-1].split("/")):
            # Some stores write there as if it were a path, and then list nothing.
            raise ConfigError(
                "the prefix has an empty part, or a . or ..", self.where,
                "name it as it shall be stored: s3://bucket/prefix",
            )  # fmt: skip
        self._client = _s3.client(self.where)
        self._knows_conditions = False

    def folders(self, folder: str) -> list[str]:
        """See `Store.folders`."""
        return [
            each["Prefix"].rstrip("/").rpartition("/")[2]
            for page in self._pages(folder)
            for each in page.get("CommonPrefixes", [])
        ]

    def files(self, folder: str) -> list[Entry]:
        """See `Store.files`."""
        pages = self._pages(folder)
        if len(pages) == 1:
            return _entries(pages, self._prefix)
        return settled(lambda: _entries(self._pages(folder), self._prefix))

    def _pages(self, folder: str) -> list[Any]:
        with self._errors():
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=f"{self._prefix}{folder}/", Delimiter="/"
            )
            return list(pages)

    def read(self, name: str) -> bytes | None:
        """See `Store.read`."""
        with self._errors():
            try:
                found = self._client.get_object(Bucket=self._bucket, Key=self._prefix + name)
            except self._client.exceptions.NoSuchKey:
                return None
            content: bytes = found["Body"].read()
            return content

    def put(self, name: str, content: bytes) -> bool:
        """See `Store.put`."""
        with self._errors():
            self._demand_conditions()
            return self._put(name, content, IfNoneMatch="*") is not None

    def replace(self, entry: Entry, content: bytes) -> None:
        """See `Store.replace`."""
        with self._errors():
            self._demand_conditions()
            done = self._put(entry.name, content, IfMatch=entry.tag)
            # The answer to the put may have been lost, and this is that of its retry.
            if done is None and self.read(entry.name) != content:
                raise self._changed(entry)

    def delete(self, entry: Entry) -> None:
        """See `Store.delete`."""
        with self._errors():
            try:
                self._client.delete_object(
                    Bucket=self._bucket, Key=self._prefix + entry.name, IfMatch=entry.tag
                )
            except self._client.exceptions.ClientError as error:
                if _s3.status_of(error) not in {404, 412}:
                    raise
                if self.read(entry.name) is not None:
                    raise self._changed(entry) from error

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """See `Store.writing`; nobody waits, the conditions of the puts are enough."""
        yield

    @contextlib.contextmanager
    def alone(self) -> Iterator[Callable[[], None]]:
        """See `Store.alone`; that of a killed process is free after `lease_s`."""
        with self._errors():
            self._demand_conditions()
            key = self._prefix + _LEASE
            with lease(self._client, self._bucket, key, self.where, self.lease_s) as still_alone:
                yield still_alone

    def close(self) -> None:
        """See `Store.close`."""
        self._client.close()

    def _put(self, name: str, content: bytes, **condition: str) -> str | None:
        """Return the new tag, or None where the condition does not hold."""
        return put_if(self._client, self._bucket, self._prefix + name, content, **condition)

    def _demand_conditions(self) -> None:
        """Refuse a store that puts whatever the condition says: shippers would overwrite."""
        if self._knows_conditions:
            return
        # The first ever creates it, whoever comes later is refused at once.
        for _ in range(2):
            if self._put(_PROBE, b"", IfNoneMatch="*") is None:
                self._knows_conditions = True
                return
        raise ConfigError(
            "this store ignores conditional puts (If-None-Match): two shippers would "
            "overwrite each other's records", self.where, "use a store that knows them",
        )  # fmt: skip

    def _changed(self, entry: Entry) -> StoreUnavailable:
        return StoreUnavailable(f"{entry.name} was changed by somebody else", self.where)

    def _errors(self) -> contextlib.AbstractContextManager[None]:
        return _s3.errors(self.where)


def _entries(pages: list[Any], prefix: str) -> list[Entry]:
    return [
        Entry(each["Key"][len(prefix) :], each["ETag"], each["Size"])
        for page in pages
        for each in page.get("Contents", [])
        if not each["Key"].endswith("/")  # some stores show folders so
    ]
