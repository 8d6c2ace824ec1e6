"""What one would write by hand: FastAPI, orjson, and the plain pipeline; no contract, no log."""

from __future__ import annotations

import os
import sys

import orjson
import pandas as pd
from fastapi import FastAPI, Request, Response

sys.path.insert(0, os.path.dirname(__file__))
import mlflow.sklearn

pipeline = mlflow.sklearn.load_model(os.environ["BARE_MODEL"])
app = FastAPI()


@app.post("/invocations")
async def invocations(request: Request) -> Response:
    split = orjson.loads(await request.body())["dataframe_split"]
    frame = pd.DataFrame(split["data"], columns=split["columns"])
    for name in frame.columns:
        if name.startswith("n") and name != "note":
            frame[name] = frame[name].astype("float64")
    frame["at"] = pd.to_datetime(frame["at"])
    frame = frame.where(frame.notna(), float("nan"))
    answers = pipeline.predict_proba(frame).tolist()
    return Response(orjson.dumps({"predictions": answers}), media_type="application/json")
