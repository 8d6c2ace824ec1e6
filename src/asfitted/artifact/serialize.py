"""The pipeline as a file: skops where every type is known to be safe, else cloudpickle."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import cloudpickle

from asfitted.artifact import layout, permissions
from asfitted.errors import ArtifactDamaged, SaveRefused

logger = logging.getLogger(__name__)

# Beyond what skops trusts by itself. Each holds data and runs no code of its
# own choosing when it is loaded; the list is the installed Asfitted's, never
# the artifact's.
SAFE = frozenset(
    {
        "asfitted.contract.schema.DataContract",
        "asfitted.contract.step.Conform",
        "asfitted.preprocessing.Dummies",
        "numpy.dtype",
        "scipy.sparse._csr.csr_matrix",
        "sklearn.compose._column_transformer._RemainderColsList",
        "sklearn._loss.link.Interval",
        "sklearn._loss.link.IdentityLink",
        "sklearn._loss.link.LogitLink",
        "sklearn._loss.link.LogLink",
        "sklearn._loss.link.MultinomialLogit",
        "sklearn._loss.loss.HalfBinomialLoss",
        "sklearn._loss.loss.HalfMultinomialLoss",
        "sklearn._loss.loss.HalfSquaredError",
        "sklearn._loss._loss.CyHalfBinomialLoss",
        "sklearn._loss._loss.CyHalfMultinomialLoss",
        "sklearn._loss._loss.CyHalfSquaredError",
        "sklearn.ensemble._hist_gradient_boosting.binning._BinMapper",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.neighbors._kd_tree.KDTree",
        "sklearn.neighbors._ball_tree.BallTree",
        "sklearn.tree._tree.Tree",
    }
)


def dump(pipeline: Any, root: Path, wanted: str | None = None) -> tuple[str, list[str]]:
    """Write the fitted `pipeline` into the artifact at `root`.

    Parameters
    ----------
    pipeline : Pipeline
    root : Path
    wanted : "skops", "cloudpickle" or None
        None takes skops where it can and says why where it cannot.

    Returns
    -------
    (format, trusted) : (str, list of str)
        "skops" and the types that its reader must trust, or "cloudpickle" and [].

    Raises
    ------
    SaveRefused
        Where skops is demanded and cannot be, or the operator forbids the pickle that it
        would be.
    """
    if wanted not in {None, "skops", "cloudpickle"}:
        raise SaveRefused(
            f"there is no serialization format {wanted!r}", mend="say skops or cloudpickle"
        )
    if wanted != "cloudpickle":
        trusted, why_not = _try_skops(pipeline, root / layout.SKOPS)
        if not why_not:
            return "skops", trusted
        if wanted == "skops":
            raise SaveRefused(
                f"the pipeline cannot be saved with skops: {why_not}",
                mend="leave serialization_format out, or say cloudpickle",
            )
        logger.info("saving with cloudpickle and not with skops: %s", why_not)
    else:
        why_not = "cloudpickle was asked for"
    if variable := permissions.pickle_forbidden_by():
        raise SaveRefused(
            f"the pipeline would be saved as a pickle, because {why_not}, and {variable} is false, "
            "so nothing here would load it",
            str(root / layout.PICKLE),
            f"take steps that skops can save, or set {variable} to true",
        )
    with (root / layout.PICKLE).open("wb") as stream:
        cloudpickle.dump(pipeline, stream)
    return "cloudpickle", []


def _try_skops(pipeline: Any, file: Path) -> tuple[list[str], str]:
    import skops.io

    try:
        data = skops.io.dumps(pipeline)
        untrusted = skops.io.get_untrusted_types(data=data)
        unsafe = sorted(set(untrusted) - SAFE)
        if unsafe:
            return [], f"not known to be safe are {', '.join(unsafe)}"
        skops.io.loads(data, trusted=untrusted)
    except Exception as error:
        # skops raises whatever the object's own methods raise.
        return [], f"{type(error).__name__}: {error}"
    file.write_bytes(data)
    return sorted(untrusted), ""


def load(root: Path) -> Any:
    """Read the pipeline of the artifact at `root`, whose files have been verified.

    Raises
    ------
    ArtifactDamaged
        Where it cannot be read, or holds types that this Asfitted does not trust.
    """
    try:
        if (root / layout.SKOPS).is_file():
            return _load_skops(root / layout.SKOPS)
        with (root / layout.PICKLE).open("rb") as stream:
            return cloudpickle.load(stream)
    except ArtifactDamaged:
        raise
    except Exception as error:
        raise ArtifactDamaged(
            f"the pipeline cannot be read: {type(error).__name__}: {error}", str(root)
        ) from error


def _load_skops(file: Path) -> Any:
    # It imports all of scikit-learn and scipy.stats: a second that a pickle does not pay.
    import skops.io
    from skops.io.exceptions import UntrustedTypesFoundException

    try:
        return skops.io.load(file, trusted=sorted(SAFE))
    except UntrustedTypesFoundException as error:
        raise ArtifactDamaged(
            f"the model holds types that are not trusted: {error}", str(file.parent)
        ) from error
