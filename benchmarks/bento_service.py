"""The same pipeline as a BentoML service: no contract, no log.

BentoML's pins differ from MLflow's, so it lives in an environment of its own, whose
interpreter ``BENTOML_PYTHON`` names:

    uv venv /tmp/bento && VIRTUAL_ENV=/tmp/bento uv pip install bentoml pandas \
        cloudpickle scikit-learn==<that of this environment>
"""

from __future__ import annotations

import os
import sys
from typing import Any

import bentoml
import cloudpickle

sys.path.insert(0, os.path.dirname(__file__))
from bench_steps import as_frame


@bentoml.service(workers=int(os.environ.get("BENTO_WORKERS", "1")))
class Pipeline:
    def __init__(self) -> None:
        with open(os.path.join(os.environ["BARE_MODEL"], "model.pkl"), "rb") as file:
            self.pipeline = cloudpickle.load(file)

    @bentoml.api(route="/invocations")
    def invocations(self, dataframe_split: dict[str, Any]) -> dict[str, Any]:
        return {"predictions": self.pipeline.predict_proba(as_frame(dataframe_split)).tolist()}
