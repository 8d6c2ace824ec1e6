"""manifest.json: what every file of the artifact must be."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from asfitted._version import __version__
from asfitted.artifact import layout
from asfitted.errors import ArtifactDamaged, FormatTooNew

# MLflow writes MLmodel again after the flavor has saved: run, time and size
# change, what is executed does not. Those parts are what is digested.
_MLMODEL_PARTS = ("flavors", "signature")


def seal(root: Path, resources: Mapping[str, str], versions: Mapping[str, str]) -> str:
    """Write the manifest of the artifact at `root`; return its root digest.

    Parameters
    ----------
    root : Path
    resources : mapping of resource name to path below `root`
    versions : mapping of package to version
        For a reader; the pins are requirements.txt.
    """
    files = {name: _digest(root, name) for name in _files(root)}
    content: dict[str, Any] = {
        "format": layout.FORMAT,
        "asfitted": __version__,
        "files": files,
        "resources": dict(resources),
        "versions": dict(versions),
    }
    content["digest"] = _root_digest(content)
    text = json.dumps(content, indent=1, sort_keys=True) + "\n"
    (root / layout.MANIFEST).write_text(text, encoding="utf-8")
    return str(content["digest"])


def read(root: Path) -> dict[str, Any]:
    """Return the manifest of the artifact at `root`.

    Raises
    ------
    ArtifactDamaged
        Where it is missing or not readable.
    FormatTooNew
        Where a newer Asfitted wrote it.
    """
    file = root / layout.MANIFEST
    mend = "fetch the model version again; a model logged by another flavor has no manifest"
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        found_format, files, digest = content["format"], content["files"], content["digest"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactDamaged(
            "manifest.json is missing or not readable", str(file), mend
        ) from error
    if not isinstance(found_format, int) or found_format > layout.FORMAT:
        raise FormatTooNew(
            f"the artifact has format {found_format}, this Asfitted reads up to {layout.FORMAT}",
            str(root),
            f"use Asfitted {content.get('asfitted', '')} or newer",
        )
    if not isinstance(files, dict) or digest != _root_digest(content):
        raise ArtifactDamaged("manifest.json was changed", str(file), mend)
    return dict(content)


def verify(root: Path) -> dict[str, Any]:
    """Return the manifest, after every file has matched it.

    Raises
    ------
    ArtifactDamaged
        Names the files that are missing, changed or not known to the manifest.
    FormatTooNew
    """
    content = read(root)
    there = set(_files(root))
    known = content["files"]
    problems = [f"{name} is missing" for name in sorted(known.keys() - there)]
    problems += [f"{name} is not in the manifest" for name in sorted(there - known.keys())]
    problems += [
        f"{name} was changed"
        for name in sorted(known.keys() & there)
        if _digest(root, name) != known[name]
    ]
    if problems:
        more = f", and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise ArtifactDamaged(
            f"the artifact is not what was saved: {'; '.join(problems[:5])}{more}",
            str(root),
            "fetch the model version again, or train anew; do not edit an artifact",
        )
    return content


def _files(root: Path) -> list[str]:
    names = (path.relative_to(root) for path in root.rglob("*") if path.is_file())
    return sorted(
        name.as_posix()
        for name in names
        if name.as_posix() != layout.MANIFEST
        and name.parts[0] not in layout.BY_MLFLOW
        and "__pycache__" not in name.parts
    )


def _digest(root: Path, name: str) -> str:
    file = root / name
    if name != layout.MLMODEL:
        with file.open("rb") as stream:
            sha = hashlib.sha256()
            while chunk := stream.read(1 << 20):
                sha.update(chunk)
            return sha.hexdigest()
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        parts = {part: content.get(part) for part in _MLMODEL_PARTS}
    except (yaml.YAMLError, AttributeError, UnicodeDecodeError):
        return "not readable"
    return hashlib.sha256(_canonical(parts)).hexdigest()


def _root_digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(
        _canonical({key: value for key, value in content.items() if key != "digest"})
    ).hexdigest()


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=str).encode()
