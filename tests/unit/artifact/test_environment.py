"""What training ran on is pinned whole, and another environment is refused by name."""

from __future__ import annotations

import json
import logging
import platform
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import yaml
from packaging.requirements import Requirement

from asfitted.artifact import environment, layout
from asfitted.errors import CodeNotShipped, EnvironmentMismatch


def install(folder: Path, name: str, *requires: str, version: str = "1.0", url: str = "") -> None:
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    lines += [f"Requires-Dist: {text}" for text in requires]
    (info / "METADATA").write_text("\n".join(lines) + "\n")
    if url:
        (info / "direct_url.json").write_text(json.dumps({"url": url, "dir_info": {}}))


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_a_closure_follows_requirements_markers_and_extras(site: Path) -> None:
    install(
        site,
        "Zz_Root.Package",
        "zz-leaf>=1",
        "zz-here; python_version >= '3'",
        "zz-elsewhere; sys_platform == 'nowhere'",
        "zz-old; python_version < '3'",
        "zz-optional; extra == 'more'",
        "zz-sub[More]",
        "zz-absent",
        "not a requirement !!",
    )
    install(site, "zz-sub", "zz-deep; extra == 'more'", "zz-other; extra == 'other'")
    install(site, "zz-leaf", "zz-root-package")  # a circle
    for name in ("here", "elsewhere", "old", "optional", "deep", "other"):
        install(site, f"zz-{name}", version="2.0")
    assert environment.closure(["zz.root-PACKAGE"]) == {
        "zz-deep": "2.0",
        "zz-here": "2.0",
        "zz-leaf": "1.0",
        "zz-root-package": "1.0",
        "zz-sub": "1.0",
    }
    assert environment.closure(["zz-absent"]) == {}


def test_the_closure_of_what_is_installed_contains_what_it_requires() -> None:
    found = environment.closure(["scikit-learn", "pandas"])
    assert {"scikit-learn", "numpy", "scipy", "joblib", "threadpoolctl", "pandas"} <= set(found)
    assert list(found) == sorted(found)
    for name, version in found.items():
        dist = metadata.distribution(name)
        assert dist.version == version
        for text in dist.requires or ():
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                assert environment.normal(needed.name) in found


@pytest.mark.parametrize(
    ("url", "good"),
    [
        ("file:///home/me/project", False),
        ("https://host/repo.git", False),
        ("git+https://host/repo.git", False),
        ("file:///tmp/thing-1.0-py3-none-any.whl", True),
    ],
)
def test_what_no_index_has_cannot_be_pinned(site: Path, url: str, good: bool) -> None:
    install(site, "zz-root", "zz-local")
    install(site, "zz-local", url=url)
    if good:
        assert environment.closure(["zz-root"])["zz-local"] == "1.0"
        return
    with pytest.raises(CodeNotShipped, match="zz-local was installed from") as caught:
        environment.closure(["zz-root"])
    assert "zz_local" in caught.value.mend


def test_the_three_files_say_the_same(tmp_path: Path) -> None:
    pins = environment.closure(["numpy", "scikit-learn"])
    environment.write(tmp_path, pins)
    lines = [f"{name}=={version}" for name, version in pins.items()]
    assert (tmp_path / layout.REQUIREMENTS).read_text().splitlines() == lines
    conda = yaml.safe_load((tmp_path / layout.CONDA).read_text())
    python = platform.python_version()
    assert conda["dependencies"] == [f"python={python}", "pip", {"pip": lines}]
    python_env = yaml.safe_load((tmp_path / layout.PYTHON_ENV).read_text())
    assert python_env["python"] == python
    assert python_env["dependencies"] == ["-r requirements.txt"]
    assert environment.pins(tmp_path) == {"python": python, **pins}
    assert environment.verify(tmp_path) == {}


def test_pins_that_the_public_index_has_not_are_warned_of(
    site: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    install(site, "zz-root", "zz-gpu", "zz-plain", "zz-other")
    install(site, "zz-gpu", version="2.7.1+cu128")
    install(site, "zz-other", version="1!1.0rc1+g1234abc.d20240101")
    install(site, "zz-plain")
    pins = environment.closure(["zz-root"])
    environment.write(tmp_path, pins)
    (record,) = caplog.records
    said = record.getMessage()
    assert record.levelno == logging.WARNING
    assert "zz-gpu==2.7.1+cu128, zz-other==1!1.0rc1+g1234abc.d20240101:" in said
    assert "zz-plain" not in said
    for mend in ("plain release", "PIP_EXTRA_INDEX_URL", "UV_INDEX"):
        assert mend in said
    # The pin stays what training ran on, and this machine can answer.
    assert environment.pins(tmp_path)["zz-gpu"] == "2.7.1+cu128"
    assert environment.verify(tmp_path) == {}
    caplog.clear()
    environment.write(tmp_path, {"zz-plain": "1.0"})
    assert not caplog.records


def pinned(root: Path, **changed: str) -> None:
    environment.write(root, {"numpy": np.__version__, "zz-gone": "1.0", **changed})


def test_a_mismatch_names_what_differs(site: Path, tmp_path: Path) -> None:
    install(site, "zz-gone")
    pinned(tmp_path)
    assert environment.verify(tmp_path) == {}
    pinned(tmp_path, **{"numpy": "0.1", "zz-gone": "2.0", "zz-never": "3.0"})
    with pytest.raises(EnvironmentMismatch) as caught:
        environment.verify(tmp_path)
    said = caught.value.what
    assert f"numpy {np.__version__} instead of 0.1" in said
    assert "zz-gone 1.0 instead of 2.0" in said
    assert "zz-never nothing instead of 3.0" in said
    assert "requirements.txt" in caught.value.mend
    many = {f"zz-no{i}": "1" for i in range(10)}
    environment.write(tmp_path, many)
    with pytest.raises(EnvironmentMismatch, match="and 2 more"):
        environment.verify(tmp_path)


def test_what_may_differ_is_named_and_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pinned(tmp_path, **{"numpy": "0.1", "zz-gone": "2.0"})
    with pytest.raises(EnvironmentMismatch) as caught:
        environment.verify(tmp_path, {"numpy"})
    assert "numpy" not in caught.value.what
    with caplog.at_level(logging.WARNING):
        differing = environment.verify(tmp_path, ["NumPy", "ZZ_gone"])
    assert differing == {
        "numpy": f"{np.__version__} instead of 0.1",
        "zz-gone": "nothing instead of 2.0",
    }
    assert len(caplog.records) == 2


def test_another_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment.write(tmp_path, {})
    monkeypatch.setattr(platform, "python_version", lambda: "3.99.1")
    with pytest.raises(EnvironmentMismatch, match=r"python 3\.99\.1 instead of"):
        environment.verify(tmp_path)
    assert list(environment.verify(tmp_path, {"python"})) == ["python"]


def test_another_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment.write(tmp_path, environment.closure(["scikit-learn"]))
    pins = environment.pins(tmp_path)
    assert pins["joblib"] == metadata.version("joblib")
    installed = tmp_path / "site" / "joblib-9.9.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text("Metadata-Version: 2.4\nName: joblib\nVersion: 9.9\n")
    monkeypatch.syspath_prepend(installed.parent)
    with pytest.raises(EnvironmentMismatch, match=r"training: joblib 9\.9 instead of [\d.]+\n"):
        environment.verify(tmp_path)
