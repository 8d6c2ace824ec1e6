"""What cannot be recorded is not answered, and what is damaged does not start."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import asfitted

if TYPE_CHECKING:
    from conftest import Row, Serve, Server, Site

pytestmark = [
    pytest.mark.e2e,
    # MLflow asks SQLAlchemy for what the newest deprecates.
    pytest.mark.filterwarnings(r"ignore::DeprecationWarning:mlflow\..*"),
]

# One server, one worker of xdist.
served = pytest.mark.xdist_group("serving")

DISK_BYTES = 4 * 2**20


class Disk:
    """A disk that can be full: a small tmpfs, or a limit on the size of files without root."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        options = ["-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
        self.is_mounted = (
            os.geteuid() == 0
            and subprocess.run(["mount", *options], capture_output=True).returncode == 0
        )

    @contextmanager
    def full(self, server: Server) -> Iterator[None]:
        if not self.is_mounted:
            with no_file_grows(server):
                yield
            return
        ballast = self.folder / "ballast"
        with ballast.open("wb", buffering=0) as stream:
            try:
                while stream.write(bytes(4096)):
                    pass
            except OSError:
                yield
        ballast.unlink()

    def remove(self) -> None:
        if self.is_mounted:
            subprocess.run(["umount", "--lazy", str(self.folder)], check=True)


@contextmanager
def no_file_grows(server: Server) -> Iterator[None]:
    """Let every write of the server's processes to a file fail."""
    limits = {
        pid: resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        for pid in server.processes()
    }
    try:
        yield
    finally:
        for pid, limit in limits.items():
            resource.prlimit(pid, resource.RLIMIT_FSIZE, limit)


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Disk]:
    disk = Disk(tmp_path_factory.mktemp("serving") / "disk")
    yield disk
    disk.remove()


@pytest.fixture(scope="module")
def server(serve_for_module: Serve, disk: Disk) -> Server:
    return serve_for_module(disk.folder.parent, log=disk.folder / "log")


def orders(log: Path) -> list[str]:
    """The orders on record, each as often as it is there."""
    return sorted(keys["order"] for keys in asfitted.read_log(log)["keys"])


def ask(site: Site, server: Server, order: str, position: int = 4) -> tuple[int, Any]:
    row = site.rows[position] | {"order": order}
    return server.ask(site.payload("dataframe_split", [row]))


def assert_answers(site: Site, server: Server, order: str) -> None:
    """It answers, with the right bits, and the answer is on record once."""
    status, answers = ask(site, server, order)
    assert status == 200, answers
    assert site.bits(answers) == site.bits([site.expected[4]])
    assert orders(server.log).count(order) == 1


def assert_not_answered(site: Site, server: Server, order: str) -> None:
    status, said = ask(site, server, order)
    assert 500 <= status < 600, said
    assert "probability" not in said


@served
def test_a_full_disk(site: Site, server: Server, disk: Disk) -> None:
    assert_answers(site, server, "before")
    with disk.full(server):
        # A first record may find room in what is allocated already.
        for i in range(200):
            status, said = ask(site, server, f"full-{i}")
            if status != 200:
                break
            assert orders(server.log).count(f"full-{i}") == 1
        assert 500 <= status < 600, said
        assert "probability" not in said
        refused = f"full-{i}"
        assert_not_answered(site, server, "still-full")
        assert server.is_up()
    assert_answers(site, server, "after")
    found = orders(server.log)
    assert found.count("before") == found.count("after") == 1
    assert refused not in found
    assert "still-full" not in found
    assert len(found) == len(set(found))


@served
def test_the_disk_fills_up_under_load(site: Site, server: Server, disk: Disk) -> None:
    """Of what comes while space runs out and comes back, the answered is on record, alone."""

    def each(i: int) -> tuple[str, int, Any]:
        order = f"load-{i}"
        return (order, *ask(site, server, order, i % 600))

    with ThreadPoolExecutor(8) as pool:
        before = [pool.submit(each, i) for i in range(60)]
        before[5].result()
        with disk.full(server):
            # Some go into what the write-ahead log has of the disk already.
            during = [pool.submit(each, i) for i in range(60, 360)]
            [future.result() for future in during]
        after = [pool.submit(each, i) for i in range(360, 400)]
        given = [future.result() for future in (*before, *during, *after)]
    answered = {order: answers for order, status, answers in given if status == 200}
    assert any(status != 200 for _, status, _ in given), "the disk was never full"
    assert all(f"load-{i}" in answered for i in range(360, 400))
    found = asfitted.read_log(server.log)
    mine = [
        (keys["order"], outputs)
        for keys, outputs in zip(found["keys"], found["outputs"], strict=True)
        if keys["order"].startswith("load-")
    ]
    assert sorted(order for order, _ in mine) == sorted(answered)
    for order, outputs in mine:
        expected = site.expected[int(order.removeprefix("load-")) % 600]
        assert site.bits([outputs]) == site.bits(answered[order]) == site.bits([expected])


@served
def test_no_file_grows(site: Site, server: Server) -> None:
    assert_answers(site, server, "small-before")
    with no_file_grows(server):
        assert_not_answered(site, server, "no-growth")
    assert_answers(site, server, "small-after")
    found = orders(server.log)
    assert "no-growth" not in found
    assert "small-before" in found


def test_the_folder_becomes_a_file(site: Site, serve: Serve, tmp_path: Path) -> None:
    server = serve(tmp_path)
    assert server.log.is_dir(), "a server looks at its log before it starts"
    server.log.rename(tmp_path / "moved")
    server.log.write_text("not a folder")
    assert_not_answered(site, server, "first")
    assert (server.get("/ping"), server.get("/ready")) == (200, 503)
    server.log.unlink()
    assert_answers(site, server, "second")
    assert server.get("/ready") == 200


def test_the_folder_is_deleted(site: Site, serve: Serve, tmp_path: Path) -> None:
    """No answer goes on record in a file that has no name any more."""
    server = serve(tmp_path)
    assert_answers(site, server, "first")
    shutil.rmtree(server.log)
    server.log.write_text("not a folder")
    assert_not_answered(site, server, "second")
    server.log.unlink()
    assert_answers(site, server, "third")
    shutil.rmtree(server.log)
    assert_answers(site, server, "fourth")
    assert orders(server.log) == ["fourth"]


def test_no_log_no_server(site: Site, serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "log").write_text("not a folder")
    server = serve(tmp_path, ready=False)
    server.assert_exits()
    assert "the prediction log cannot be written" in server.said()
    assert str(tmp_path / "log") in server.said()


def test_no_log_no_workers(site: Site, serve: Serve, tmp_path: Path) -> None:
    """With several workers uvicorn starts them again and again; none of them answers."""
    (tmp_path / "log").write_text("not a folder")
    server = serve(tmp_path, ready=False, arguments=["--env-manager", "local", "-w", "2"])
    deadline = time.monotonic() + 120
    while server.said().count("the prediction log cannot be written") < 2:
        assert server.process.poll() is None
        assert not server.is_up()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert not server.is_up()


@pytest.mark.parametrize("which", ["model", "code"])
def test_a_damaged_artifact(site: Site, serve: Serve, tmp_path: Path, which: str) -> None:
    name = f"damaged_{which}"
    artifact = site.copy(name, tmp_path / "artifact")
    file = artifact / "code" / "shop_calendar.py"
    if which == "model":
        (file,) = [artifact / n for n in ("model.skops", "model.pkl") if (artifact / n).exists()]
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    server = serve(tmp_path, model_uri=f"models:/{name}/1", ready=False)
    server.assert_exits()
    assert "the artifact is not what was saved" in server.said()
    assert f"{file.relative_to(artifact)} was changed" in server.said()


BAD: dict[str, dict[str, Any]] = {
    "a text for a number": {"price": "50"},
    "a fraction for an integer": {"visits": 1.5},
    "a number for a boolean": {"member": 1},
    "a text for a boolean": {"member": "no"},
    "an integer that wraps": {"visits": 2**63},
    "an unknown category": {"colour": "mauve"},
    "a moment to be guessed": {"placed": "03/04/2021"},
    "an epoch for a moment": {"placed": 1700000000},
    "a missing value that may not miss": {"price": None},
    "a column of no one": {"colour_": "red"},
}


@served
@pytest.mark.parametrize("bad", BAD)
def test_nonsense_is_refused(site: Site, server: Server, bad: str) -> None:
    order = f"nonsense-{list(BAD).index(bad)}"
    row: Row = site.rows[4] | BAD[bad] | {"order": order}
    good = site.rows[5] | {"order": f"{order}-beside"}
    for rows in ([row], [good | dict.fromkeys(row.keys() - good.keys()), row]):
        status, said = server.ask(site.payload("dataframe_records", rows))
        assert 400 <= status < 500, said
        assert "probability" not in said
    assert not [found for found in orders(server.log) if found.startswith(order)]


@served
def test_a_refusal_is_on_record_without_the_values(site: Site, server: Server) -> None:
    secret = "mauve-4711"
    before = len(asfitted.read_log(server.log, refused=True))
    row = site.rows[4] | {"colour": secret, "order": "refused"}
    status, _ = server.ask(site.payload("dataframe_split", [row]))
    assert 400 <= status < 500
    refusal = asfitted.read_log(server.log, refused=True).iloc[before:]
    assert refusal["code"].tolist() == ["contract_violation"]
    assert refusal["source"].tolist() == ["serve"]
    assert refusal["model_name"].tolist() == ["shop"]
    assert [v["column"] for v in refusal["violations"].iloc[0]] == ["colour"]
    for file in server.log.iterdir():
        assert secret.encode() not in file.read_bytes()
    assert json.dumps(secret) not in json.dumps(refusal["violations"].tolist())
