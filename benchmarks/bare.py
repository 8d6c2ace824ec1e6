"""What one would write by hand: FastAPI, orjson, and the plain pipeline; no contract, no log."""

from __future__ import annotations

import os
import sys

import orjson
from fastapi import FastAPI, Request, Response

sys.path.insert(0, os.path.dirname(__file__))
import mlflow.sklearn
from bench_steps import as_frame

pipeline = mlflow.sklearn.load_model(os.environ["BARE_MODEL"])
app = FastAPI()


@app.post("/invocations")
async def invocations(request: Request) -> Response:
    split = orjson.loads(await request.body())["dataframe_split"]
    answers = pipeline.predict_proba(as_frame(split)).tolist()
    return Response(orjson.dumps({"predictions": answers}), media_type="application/json")
