"""`FittedModel`: a pipeline that answers in production as it did in training."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import pandas as pd

from asfitted.artifact.resources import of_model
from asfitted.contract import Conformed, DataContract
from asfitted.errors import ContractViolation, OutputViolation, Violation
from asfitted.scoring import outputs, spark
from asfitted.scoring.outputs import PredictFn
from asfitted.scoring.recording import Identity, Recorder
from asfitted.scoring.scorer import Scorer, unwrap


@dataclass(frozen=True)
class Answered:
    """What one call gave.

    Attributes
    ----------
    outputs : DataFrame of shape (n_rows, n_outputs)
    keys : DataFrame of shape (n_rows, n_keys)
    prediction_ids : list of str
        Empty where nothing is recorded.
    """

    outputs: pd.DataFrame
    keys: pd.DataFrame
    prediction_ids: list[str]


class FittedModel:
    """A fitted pipeline behind its contract, its output checks and its log.

    What `load_model` returns and what serves. Built on a pipeline that is not
    saved yet, it gives the bits that the saved one will give, and logs nothing.

    Parameters
    ----------
    pipeline : fitted pipeline or search
        Beginning with `Conform`.
    predict_fn : "predict", "predict_proba" or "both", default "predict"
        What `predict` answers.
    whole_steps : int, default 0
    shortcuts : collection of str
        From the plan that was proved at save; see `Scorer`.
    transform_output : "default" or "pandas"
        scikit-learn's global setting where the pipeline was fitted; see `Scorer`.
    identity : Identity
    resources : mapping of name to path, optional
        What the model brings along; by default what `asfitted.resources` declares.
    recorder : Recorder, optional
        Without one, nothing is recorded: proof, gate and replay calls are not
        predictions.
    """

    def __init__(
        self,
        pipeline: Any,
        *,
        predict_fn: PredictFn = "predict",
        whole_steps: int = 0,
        shortcuts: Collection[str] = (),
        transform_output: str = "default",
        identity: Identity | None = None,
        resources: Mapping[str, Path] | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        self.pipeline = unwrap(pipeline)
        self.scorer = Scorer(self.pipeline, whole_steps, shortcuts, transform_output)
        self.predict_fn = predict_fn
        self.identity = identity or Identity()
        self.resources = resources
        self.recorder = recorder
        # Of naive moments in a Spark worker, where the caller stated it.
        self.spark_zone = ""
        # Loads the same model in another process; set where it came from an artifact.
        self.again: Callable[[], FittedModel] | None = None
        # The outputs without a row, as they are with some: a loaded model has proved itself.
        self._of_no_rows: pd.DataFrame | None = None
        outputs.refuse_predict_fn(self.scorer.estimator, predict_fn)

    @property
    def contract(self) -> DataContract:
        """What a row must be."""
        return self.scorer.contract

    @property
    def classes(self) -> list[Any]:
        """The classes of a classifier in the order of their probabilities; else empty."""
        labels = getattr(self.scorer.estimator, "classes_", [])
        return list(getattr(labels, "tolist", lambda: labels)())

    def predict(self, frame: pd.DataFrame, params: Mapping[str, Any] | None = None) -> Any:
        """Return the answer for each row, once it is on record.

        Parameters
        ----------
        frame : DataFrame of shape (n_rows, n_columns)
            Raw rows, as the contract has them.
        params : mapping, optional
            MLflow's; none are declared.

        Returns
        -------
        ndarray of shape (n_rows,)
            With ``predict_fn="predict"``.
        DataFrame of shape (n_rows, n_outputs)
            Else: ``prediction``, ``probability_<class>``.

        Raises
        ------
        ContractViolation
            For rows that the contract does not allow; none is answered then.
        OutputViolation
            For an answer that must not be sent.
        RecordError
            Where the answer could not be recorded.
        """
        return outputs.answer(self.outputs(frame), self.predict_fn)

    def outputs(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return everything the model says of each row, once it is on record.

        Returns
        -------
        DataFrame of shape (n_rows, n_outputs)
            ``prediction`` and, for a classifier, its scores, whatever
            ``predict_fn`` is.

        Raises
        ------
        ContractViolation, OutputViolation, RecordError
            As `predict`.
        """
        return self.answered(frame).outputs

    def answered(self, frame: pd.DataFrame) -> Answered:
        """Return everything about each row's answer, once it is on record.

        Raises
        ------
        ContractViolation, OutputViolation, RecordError
            As `predict`.
        """
        received_at, started = datetime.now(timezone.utc), perf_counter_ns()
        try:
            conformed = self.conform(frame)
            scored = self.score(conformed.frame)
        except (ContractViolation, OutputViolation) as error:
            if self.recorder is not None:
                self.recorder.refused(error, _n_rows(frame), received_at)
            raise
        ids: list[str] = []
        if self.recorder is not None and len(scored):
            latency_us = (perf_counter_ns() - started) // 1000
            ids = self.recorder.answered(self.contract, conformed, scored, received_at, latency_us)
        return Answered(scored, conformed.keys, ids)

    def score(self, conformed: pd.DataFrame) -> pd.DataFrame:
        """Return all outputs for rows that are conformed already; records nothing."""
        with of_model(self.resources) if self.resources is not None else nullcontext():
            if len(conformed):
                scored = self.scorer.score(conformed)
                if self._of_no_rows is None:
                    self._of_no_rows = scored.iloc[:0].copy()
                return scored
            if self._of_no_rows is not None:
                return self._of_no_rows.copy()
            # No estimator takes an empty table.
            return outputs.none(self.scorer.estimator)

    def conform(self, frame: pd.DataFrame) -> Conformed:
        """Return `frame` as the pipeline must see it, keys and findings beside it.

        Raises
        ------
        ContractViolation
        """
        rows = _n_rows(frame)
        served = self.recorder is not None and self.recorder.source == "serve"
        if served and rows > self.contract.limits.rows:
            raise ContractViolation(
                [Violation("", "rows", f"{rows} rows, {self.contract.limits.rows} are allowed")],
                mend="send fewer at a time, or raise limits.rows in the contract",
            )
        if spark.is_worker():
            frame = spark.restore(self.contract, frame, self.spark_zone)
        return self.contract.conform(frame)

    def score_file(self, source: Any, target: Any, **options: Any) -> Any:
        """Score files that need not fit in memory; see `asfitted.batch.score_file`.

        Returns
        -------
        asfitted.batch.Summary
        """
        # Batch stands above scoring, and nothing here needs it: so by name.
        batch = importlib.import_module("asfitted.batch")
        return batch.score_file(self, source, target, **options)

    def __repr__(self) -> str:
        version = f"/{self.identity.version}" if self.identity.version else ""
        name = f"{self.identity.name or 'unsaved'}{version}"
        return f"FittedModel({name}, {type(self.scorer.estimator).__name__})"


def _n_rows(frame: Any) -> int:
    return len(frame) if hasattr(frame, "__len__") else 0
