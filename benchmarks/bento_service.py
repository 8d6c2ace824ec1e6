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
import pandas as pd

sys.path.insert(0, os.path.dirname(__file__))


@bentoml.service(workers=int(os.environ.get("BENTO_WORKERS", "1")))
class Pipeline:
    def __init__(self) -> None:
        with open(os.path.join(os.environ["BARE_MODEL"], "model.pkl"), "rb") as file:
            self.pipeline = cloudpickle.load(file)

    @bentoml.api(route="/invocations")
    def invocations(self, dataframe_split: dict[str, Any]) -> dict[str, Any]:
        frame = pd.DataFrame(dataframe_split["data"], columns=dataframe_split["columns"])
        for name in frame.columns:
            if name.startswith("n") and name != "note":
                frame[name] = frame[name].astype("float64")
        frame["at"] = pd.to_datetime(frame["at"])
        frame = frame.where(frame.notna(), float("nan"))
        return {"predictions": self.pipeline.predict_proba(frame).tolist()}
