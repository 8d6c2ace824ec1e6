"""The history of a model's aliases: one MLflow run for each decision.

The runs are in the experiment ``asfitted/<model name>``, which works the same on a
SQLite file and on a remote server. They are append-only by convention: nothing here
changes a finished one, but nothing stops whoever may write to the tracking store.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from asfitted._mlflow import asking_mlflow
from asfitted.errors import RegistryError
from asfitted.registry.decision import Decision
from asfitted.registry.store import Store

if TYPE_CHECKING:
    from mlflow.entities import Run

_TAG = "asfitted."
# MLflow's stores take at least so much in a tag; the whole reason is in decision.json.
_LONGEST_TAG = 4000

State = Literal["moved", "refused", "unfinished", "failed"]
_STATES: dict[str, State] = {
    "FINISHED": "moved",
    "RUNNING": "unfinished",
    "SCHEDULED": "unfinished",
}


@dataclass(frozen=True)
class Row:
    """One decision, as the history tells it.

    Attributes
    ----------
    state : "moved", "refused", "unfinished" or "failed"
        ``unfinished`` is a decision whose process ended between writing it down and
        saying that the alias had moved; ``failed`` one where moving it failed.
    passed : bool
        What the gates decided, whatever became of it.
    """

    name: str
    action: str
    state: State
    passed: bool
    version: str
    alias: str
    previous: str | None
    digest: str | None
    who: str
    at: datetime
    reason: str
    run_id: str

    def to_json(self) -> dict[str, Any]:
        """Return it as what ``--json`` prints."""
        return {**asdict(self), "at": self.at.isoformat()}


@dataclass(frozen=True)
class Holder:
    """A version that held the alias, and the digest that it was proved with."""

    version: str
    digest: str | None


class History:
    """The decisions about one registered model."""

    def __init__(self, store: Store, name: str) -> None:
        self._client, self._where, self.name = store.client, store.where, name
        self.experiment = f"asfitted/{name}"

    def begin(self, decision: Decision) -> str:
        """Write the decision down, evidence and all, and return the run's id.

        The run stays RUNNING until `finish`: what is written before the alias moves
        cannot be lost by a crash, and a crash in between shows.
        """
        tags = {
            "action": decision.action,
            "decision": "pass" if decision.passed else "refuse",
            "version": decision.version,
            "alias": decision.alias,
            "previous": decision.previous or "",
            "digest": decision.digest or "",
            "who": decision.who,
            "at": decision.at.isoformat(),
            "reason": decision.reason[:_LONGEST_TAG],
        }
        word = "" if decision.passed else ": refused"
        plain = decision.to_json()
        with asking_mlflow(self._where):
            run = self._client.create_run(
                self._experiment_id(),
                tags={f"{_TAG}{key}": value for key, value in tags.items()},
                run_name=f"{decision.action} {decision.version} to {decision.alias}{word}",
            )
            run_id = str(run.info.run_id)
            self._client.log_dict(run_id, plain.pop("evidence"), "evidence.json")
            self._client.log_dict(run_id, {**plain, "run_id": run_id}, "decision.json")
            for key, value in _metrics(decision).items():
                self._client.log_metric(run_id, key, value)
        return run_id

    def finish(self, run_id: str, failed: bool = False) -> None:
        """Say that what the decision asked for is done, or could not be done."""
        with asking_mlflow(self._where):
            self._client.set_terminated(run_id, "FAILED" if failed else "FINISHED")

    def rows(self) -> list[Row]:
        """Return every decision, the oldest first; deleted runs too, until MLflow purges them."""
        rows: list[Row] = []
        token = None
        with asking_mlflow(self._where):
            experiment = self._client.get_experiment_by_name(self.experiment)
            while experiment is not None:
                # 3 is ViewType.ALL: hiding a run in the UI must not hide a decision.
                page = self._client.search_runs(
                    [experiment.experiment_id], run_view_type=3, page_token=token
                )
                rows += [self._row(run) for run in page if f"{_TAG}at" in run.data.tags]
                token = page.token
                if not token:
                    break
        return sorted(rows, key=lambda row: (row.at, row.run_id))

    def _row(self, run: Run) -> Row:
        tags = {k.removeprefix(_TAG): v for k, v in run.data.tags.items() if k.startswith(_TAG)}
        passed = tags["decision"] == "pass"
        state = _STATES.get(run.info.status, "failed")
        return Row(
            name=self.name,
            action=tags["action"],
            state="refused" if state == "moved" and not passed else state,
            passed=passed,
            version=tags["version"],
            alias=tags["alias"],
            previous=tags["previous"] or None,
            digest=tags["digest"] or None,
            who=tags["who"],
            at=datetime.fromisoformat(tags["at"]),
            reason=tags["reason"],
            run_id=str(run.info.run_id),
        )

    def _experiment_id(self) -> str:
        experiment = self._client.get_experiment_by_name(self.experiment)
        if experiment is None:
            return str(self._client.create_experiment(self.experiment))
        if experiment.lifecycle_stage != "active":
            raise RegistryError(
                f"the experiment {self.experiment!r}, which keeps the history, was deleted",
                self._where,
                f"mlflow experiments restore --experiment-id {experiment.experiment_id}",
            )
        return str(experiment.experiment_id)


def holders(rows: Sequence[Row], alias: str, current: str | None) -> list[Holder]:
    """Return the versions that `alias` came through and can go back to, the last one last.

    Promotions push and rollbacks pop. What held the alias before the first decision
    is at the bottom: it was put there by hand, and going back to it proves it. A
    version put there by hand later on is not in the list.

    Parameters
    ----------
    rows : sequence of Row
        The oldest first.
    current : str, optional
        The version that holds the alias now; an unfinished decision counts if the
        alias was found to be where that decision wanted it.
    """
    rows = [row for row in rows if row.alias == alias]
    stack: list[Holder] = []
    for position, row in enumerate(rows):
        later = rows[position + 1].previous if position + 1 < len(rows) else current
        if not row.passed or (row.state != "moved" and later != row.version):
            continue
        if row.action == "rollback":
            while stack and stack[-1].version != row.version:
                stack.pop()
            if stack:
                continue
        elif not stack and row.previous not in (None, row.version):
            stack.append(Holder(row.previous or "", None))
        if stack and stack[-1].version == row.version:
            stack.pop()
        stack.append(Holder(row.version, row.digest))
    return stack


def _metrics(decision: Decision) -> dict[str, float]:
    """Return the measurements as a run's metrics, so that MLflow's charts show them."""
    metrics: dict[str, float] = {}
    for role in ("challenger", "champion"):
        model = getattr(decision.evidence, role)
        for key, measurement in (model.measurements if model else {}).items():
            if measurement.value is not None:
                logged = key.removesuffix(" as logged")
                metric = logged if logged != key else key.partition(" of ")[0]
                metrics[f"{role}/{metric}"] = measurement.value
    return metrics
