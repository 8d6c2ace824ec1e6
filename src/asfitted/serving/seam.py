"""The seam that puts our app under the unchanged ``mlflow models serve``.

uvicorn imports ``mlflow.pyfunc.scoring_server.app`` and takes its attribute
``app``. While that module executes it loads the model, and so our loader runs.
The loader gives the module object a class of its own, whose ``app`` is a
property: uvicorn's ``getattr`` meets the property first and gets our app; the one
that MLflow made lies in the module's ``__dict__`` and stays behind ours for the
routes that are not ours. Assigning ``__class__`` of a module is documented
Python: docs.python.org/3/reference/datamodel.html#customizing-module-attribute-access
"""

from __future__ import annotations

import logging
import sys
import types
from collections.abc import Callable
from typing import Any

import mlflow

logger = logging.getLogger(__name__)

MODULE = "mlflow.pyfunc.scoring_server.app"

# The minor releases of MLflow whose server was run with the seam in the tests.
TESTED = ("3.11", "3.12", "3.13", "3.14", "3.15", "3.16", "3.17")


def install(make_app: Callable[[Any], Any]) -> bool:
    """Put ``make_app(mlflow's app)`` in the place of MLflow's app.

    Parameters
    ----------
    make_app : callable
        From MLflow's ASGI app to ours; called once, when uvicorn asks.

    Returns
    -------
    bool
        Whether it could be done; where not, a warning says what is weaker.
    """
    module = sys.modules.get(MODULE)
    if module is None or "app" in vars(module):
        logger.warning(
            "Asfitted's server could not be installed: MLflow %s loads models in another way. "
            "MLflow's own server answers: it casts what it can before the contract sees the row, "
            "its refusals show traces, and CSV bodies are refused.",
            mlflow.__version__,
        )
        return False
    if mlflow.__version__.rpartition(".")[0] not in TESTED:
        logger.warning(
            "Asfitted's server was tested with MLflow %s, this is %s",
            ", ".join(TESTED),
            mlflow.__version__,
        )
    made: list[Any] = []

    class WithOurApp(types.ModuleType):
        @property
        def app(self) -> Any:
            if not made:
                made.append(make_app(vars(self)["app"]))
            return made[0]

    module.__class__ = WithOurApp
    return True
