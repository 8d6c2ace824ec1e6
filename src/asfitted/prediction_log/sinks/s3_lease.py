"""One process at a time in a bucket: an object that says who, and since when."""

from __future__ import annotations

import contextlib
import json
import time
import uuid
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from typing import Any

from asfitted import _s3
from asfitted.prediction_log.sinks import holder
from asfitted.prediction_log.sinks.store import Busy


def put_if(client: Any, bucket: str, key: str, content: bytes, **condition: str) -> str | None:
    """Put an object on a condition; return its tag, or None where the condition does not hold."""
    try:
        answer = client.put_object(Bucket=bucket, Key=key, Body=content, **condition)
    except client.exceptions.ClientError as error:
        gone = _s3.status_of(error) == 404 and error.response["Error"]["Code"] == "NoSuchKey"
        if _s3.status_of(error) == 412 or gone:
            return None
        raise
    tag: str = answer["ETag"]
    return tag


@contextlib.contextmanager
def lease(
    client: Any, bucket: str, key: str, where: str, lease_s: float
) -> Iterator[Callable[[], None]]:
    """Hold the object `key` until the end; give a function that renews it, or raises.

    Whoever was killed has it until it was silent for `lease_s`, by the store's own
    clock, or until somebody of the same machine asks, and sees that it has ended. A
    process that stood still for longer than that between asking whether it is alone and
    doing what it asked for could act beside its successor.

    Raises
    ------
    Busy
        Where another process has it, or has taken it over.
    """
    mark = holder.me()
    who = f"{mark['host']} pid {mark['pid']}"
    content = json.dumps({"who": who, "id": uuid.uuid4().hex, "process": mark}).encode()

    def put(**condition: str) -> str | None:
        tag = put_if(client, bucket, key, content, **condition)
        if tag is None:
            # The answer of a put may have been lost, and this is that of its retry.
            found = _look(client, bucket, key)
            if found is not None and found[1] == content:
                return found[0]
        return tag

    def take() -> str:
        tag = put(IfNoneMatch="*")
        if tag is None:
            found = _look(client, bucket, key)
            held: dict[str, Any] = {"who": "another process"}
            if found is not None:
                held = json.loads(found[1])
                if found[2] > lease_s or holder.has_ended(held.get("process", {})):
                    tag = put(IfMatch=found[0])
            if tag is None:
                raise Busy(
                    f"{held['who']} is merging or changing files", where,
                    f"wait for it; if it was killed, {lease_s / 60:.0f} minutes",
                )  # fmt: skip
        return tag

    tag, renewed = take(), time.time()

    def still_alone() -> None:
        nonlocal tag, renewed
        # Not the monotonic clock, which stands still while a machine sleeps.
        if not 0 <= time.time() - renewed < lease_s / 3:
            now = put(IfMatch=tag)
            if now is None:
                raise Busy("another process has taken over", where)
            tag, renewed = now, time.time()

    try:
        yield still_alone
    finally:
        # One that is lost, or cannot be given back now, is free in time; and what went
        # wrong before is what has to be told.
        with contextlib.suppress(Exception):
            client.delete_object(Bucket=bucket, Key=key, IfMatch=tag)


def _look(client: Any, bucket: str, key: str) -> tuple[str, bytes, float] | None:
    """Return tag, content and age in seconds of an object; None where there is none."""
    try:
        found = client.get_object(Bucket=bucket, Key=key)
    except client.exceptions.NoSuchKey:
        return None
    now = parsedate_to_datetime(found["ResponseMetadata"]["HTTPHeaders"]["date"])
    return found["ETag"], found["Body"].read(), (now - found["LastModified"]).total_seconds()
