"""What sinks and batch jobs share of S3: where a URL leads, a client, errors in our words.

boto3 finds credentials, region and endpoint in its own ways: the ``AWS_`` variables
(``AWS_ENDPOINT_URL_S3`` for other stores than Amazon's), its files, the machine's role.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from asfitted.errors import ConfigError, StoreUnavailable

_PATIENCE = {"connect_timeout": 10, "read_timeout": 60}
# With the first; between them botocore waits up to 20 s, longer each time.
_TRIES = 3
_CREDENTIALS = "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE or the role"
# An answer that says who must do something; any other may be another one next time.
_MENDS = {
    "NoSuchBucket": "create the bucket, or name another; Asfitted creates none",
    "InvalidBucketName": "name a bucket that may exist",
    "AccessDenied": "let the credentials list, read, write and delete below the prefix",
    "InvalidAccessKeyId": _CREDENTIALS,
    "SignatureDoesNotMatch": _CREDENTIALS,
    "InvalidToken": _CREDENTIALS,
    "ExpiredToken": _CREDENTIALS,
    "TokenRefreshRequired": _CREDENTIALS,
    "RequestTimeTooSkewed": "set the clock of this machine",
    "PermanentRedirect": "set AWS_DEFAULT_REGION to the region of the bucket",
    "AuthorizationHeaderMalformed": "set AWS_DEFAULT_REGION to the region of the bucket",
    "NotImplemented": "use a store with conditional puts (If-None-Match), such as Amazon S3",
}


class Place(NamedTuple):
    """A bucket and the beginning of the keys in it: "" or what ends in ``/``."""

    bucket: str
    prefix: str


def is_s3(url: object) -> bool:
    """Whether something names a place in S3.

    Examples
    --------
    >>> is_s3("s3://bucket/a"), is_s3("/srv/log")
    (True, False)
    """
    return isinstance(url, str) and url.lower().startswith("s3://")


def place_of(url: str) -> Place:
    """Return what a URL names.

    Raises
    ------
    ConfigError
        Where it holds more than a bucket and a prefix: it may be a secret.

    Examples
    --------
    >>> place_of("s3://bucket/a/b")
    Place(bucket='bucket', prefix='a/b/')
    """
    parts = urlsplit(url)
    shown = f"s3://{parts.netloc.rpartition('@')[2]}{parts.path}"
    if not parts.netloc or "@" in parts.netloc or parts.query or parts.fragment:
        raise ConfigError(
            "the URL is not s3://bucket/prefix", shown,
            "credentials, region and endpoint come from the AWS_ variables or ~/.aws",
        )  # fmt: skip
    prefix = parts.path.strip("/")
    return Place(parts.netloc, f"{prefix}/" if prefix else "")


def client(where: str) -> Any:
    """Return a client of boto3.

    Raises
    ------
    ConfigError
        Where boto3 is not installed, or set up in a way that cannot be.
    """
    try:
        import boto3
        from botocore.config import Config
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"s3:// needs {error.name}", where, "pip install 'asfitted[s3]'"
        ) from error
    with errors(where):
        retries = {"mode": "standard", "total_max_attempts": _TRIES}
        try:
            # Not boto3's own session, which threads share and which keeps credentials.
            return boto3.session.Session().client("s3", config=Config(retries=retries, **_PATIENCE))
        except ValueError as error:
            raise ConfigError(f"S3 is set up wrongly: {error}", where) from error


def status_of(error: Any) -> int:
    """Return the HTTP status of a `ClientError`."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


@contextlib.contextmanager
def errors(where: str) -> Iterator[None]:
    """Tell what somebody must mend from what a retry may; no secret gets into a message.

    Raises
    ------
    ConfigError, StoreUnavailable
    """
    from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, IncompleteReadError
    from botocore.exceptions import ConnectionError as NoConnection

    try:
        yield
    except ClientError as error:
        code, status = str(error.response.get("Error", {}).get("Code", "")), status_of(error)
        # A HEAD has no body to say it in; a proxy may answer in words of its own.
        code = {"501": "NotImplemented", "403": "AccessDenied"}.get(code, code)
        if status == 501:
            code = "NotImplemented"
        if code in _MENDS:
            raise ConfigError(f"S3 refuses: {code}", where, _MENDS[code]) from error
        raise StoreUnavailable(f"S3 does not do it: {code or status}", where) from error
    except (HTTPClientError, NoConnection, IncompleteReadError) as error:
        raise StoreUnavailable(f"S3 does not answer: {type(error).__name__}", where) from error
    except BotoCoreError as error:
        mend = _CREDENTIALS if "Credential" in type(error).__name__ else ""
        raise ConfigError(f"S3 cannot be asked: {error}", where, mend) from error
