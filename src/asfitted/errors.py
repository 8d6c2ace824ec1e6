"""Every error that Asfitted raises on purpose.

::

    AsfittedError                  code "error"                exit 1
    ├── ConfigError                code "config_invalid"       exit 2   (ValueError)
    ├── ContractInvalid            code "contract_invalid"     exit 2   (ValueError)
    ├── ContractViolation          code "contract_violation"   exit 3   (ValueError)
    ├── OutputViolation            code "output_violation"     exit 3
    ├── CheckFailed                code "check_failed"         exit 1
    ├── ModelFailed                code "model_failed"         exit 1
    │   └── RowsChanged            code "rows_changed"
    ├── RequestRefused             a code of its own, HTTP 4xx exit 3
    ├── SaveRefused                code "save_refused"         exit 3
    │   ├── NotConformed           code "not_conformed"
    │   ├── BatchDependent         code "batch_dependent"
    │   ├── AnswersDiffer          code "answers_differ"
    │   ├── ProbeFailed            code "probe_failed"
    │   ├── CodeNotShipped         code "code_not_shipped"
    │   └── ResourceNotShipped     code "resource_not_shipped"
    ├── LoadRefused                code "load_refused"         exit 3
    │   ├── ArtifactDamaged        code "artifact_damaged"
    │   ├── EnvironmentMismatch    code "environment_mismatch"
    │   ├── GoldenMismatch         code "golden_mismatch"
    │   ├── FormatTooNew           code "format_too_new"
    │   ├── CodeCollision          code "code_collision"
    │   └── CodeNotAllowed         code "code_not_allowed"
    ├── GateRefused                code "gate_refused"         exit 3
    ├── RegistryError              code "registry_error"       exit 2
    ├── RecordError                code "record_failed"        exit 4
    └── StoreUnavailable           code "store_unavailable"    exit 4

A *refusal* is a rule that said no; a *failure* is something that broke. Both say
what, where and the mend. Exit codes are those of the command line: 0 pass, 1 bug,
2 usage or configuration, 3 refused, 4 a store is unavailable and a retry may help.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

SHOWN_VIOLATIONS = 5


def without_secrets(text: str) -> str:
    """Return what somebody else's library says, without user and password of URLs in it.

    Examples
    --------
    >>> without_secrets("no answer from http://ann:s3cret@db:5000/api")
    'no answer from http://db:5000/api'
    """
    return re.sub(r"://[^\s/@]*@", "://", text)


class AsfittedError(Exception):
    """What went wrong, where, and the mend where the cause is established.

    Parameters
    ----------
    what : str
        One sentence.
    where : str, default ""
        File, column, row, step or model version.
    mend : str, default ""
        What to do about it.
    """

    code = "error"
    exit_code = 1

    def __init__(self, what: str, where: str = "", mend: str = "") -> None:
        super().__init__(what, where, mend)
        self.what, self.where, self.mend = what, where, mend

    def __str__(self) -> str:
        lines = [self.what]
        if self.where:
            lines.append(f"  where: {self.where}")
        if self.mend:
            lines.append(f"  mend:  {self.mend}")
        return "\n".join(lines)


class ConfigError(AsfittedError, ValueError):
    """registry_config.yaml, or a setting, cannot be used as it stands."""

    code = "config_invalid"
    exit_code = 2


class ContractInvalid(AsfittedError, ValueError):
    """The contract itself is wrong, whatever the data."""

    code = "contract_invalid"
    exit_code = 2


@dataclass(frozen=True)
class Violation:
    """One rule of the contract that some rows break.

    Attributes
    ----------
    column : str
        "" where the rule is about the frame.
    rule : str
        Stable name: ``missing``, ``type``, ``min``, ``max``, ``category``, …
    what : str
        The sentence for a person; never holds a cell's value.
    rows : tuple of int
        Positions (0-based) of the rows, in order.
    n_rows : int
        Rows looked at.
    """

    column: str
    rule: str
    what: str
    rows: tuple[int, ...] = ()
    n_rows: int = 0

    @property
    def known_column(self) -> str:
        """The column, or "" where its name is the caller's own text."""
        return "" if self.rule in {"extra_column", "duplicate"} else self.column

    def __str__(self) -> str:
        subject = f"{self.column}: " if self.column else ""
        if not self.rows:
            return f"{subject}{self.what}"
        shown = ", ".join(map(str, self.rows[:SHOWN_VIOLATIONS]))
        more = ", …" if len(self.rows) > SHOWN_VIOLATIONS else ""
        return f"{subject}{len(self.rows)} of {self.n_rows} {self.what} (rows {shown}{more})"


def _shown(violations: Sequence[Violation]) -> str:
    shown = [str(v) for v in violations[:SHOWN_VIOLATIONS]]
    if len(violations) > SHOWN_VIOLATIONS:
        shown.append(f"… and {len(violations) - SHOWN_VIOLATIONS} more")
    return "\n  ".join(shown)


class ContractViolation(AsfittedError, ValueError):
    """Input that the contract does not allow; every failed check, not only the first."""

    code = "contract_violation"
    exit_code = 3

    def __init__(self, violations: Sequence[Violation], where: str = "", mend: str = "") -> None:
        self.violations = tuple(violations)
        super().__init__(_shown(self.violations), where, mend)
        self.args = (self.violations, where, mend)


class OutputViolation(AsfittedError):
    """An answer that must not be sent; every failed check, not only the first.

    Not finite, not a probability, of no known class, out of the declared bounds, or
    refused by an output check; see ``violations``, whose columns are outputs.
    """

    code = "output_violation"
    exit_code = 3

    def __init__(self, violations: Sequence[Violation], where: str = "", mend: str = "") -> None:
        self.violations = tuple(violations)
        super().__init__(f"the model's answer is not one: {_shown(self.violations)}", where, mend)
        self.args = (self.violations, where, mend)


class CheckFailed(AsfittedError):
    """A row check or an output check is broken itself: it raises, or returns no mask.

    ``where`` is its function.
    """

    code = "check_failed"


class ModelFailed(AsfittedError):
    """The pipeline raises on rows that the contract allows.

    The type of what it raised is told, the message is not: it may hold a value. It is
    the ``__cause__``.
    """

    code = "model_failed"


class RowsChanged(ModelFailed):
    """A step or an estimator gives another number of rows than it was given.

    Which answer belongs to which row is not known then, so none is given.
    """

    code = "rows_changed"


class RequestRefused(AsfittedError):
    """A request that cannot be read, before any rule of the contract is asked.

    Parameters
    ----------
    code : str
        Stable; the guide lists them all.
    what : str
        Never holds a value, a path or a piece of the body.
    mend : str
    status : int, default 400
        Of the HTTP answer.
    """

    exit_code = 3

    def __init__(self, code: str, what: str, mend: str = "", status: int = 400) -> None:
        super().__init__(what, "", mend)
        self.code, self.status = code, status
        self.args = (code, what, mend, status)


class SaveRefused(AsfittedError):
    """The model could not answer in production as it answered in training."""

    code = "save_refused"
    exit_code = 3


class NotConformed(SaveRefused):
    """The pipeline does not begin with `Conform`."""

    code = "not_conformed"


class BatchDependent(SaveRefused):
    """A step whose answer for a row depends on the rows beside it."""

    code = "batch_dependent"


class AnswersDiffer(SaveRefused):
    """What would be served is not what the pipeline itself answers."""

    code = "answers_differ"


class ProbeFailed(SaveRefused):
    """A value that the contract allows breaks the pipeline, or is lost in it."""

    code = "probe_failed"


class CodeNotShipped(SaveRefused):
    """The pipeline needs a class that would not be there at inference."""

    code = "code_not_shipped"


class ResourceNotShipped(SaveRefused):
    """A step asks for a resource that nobody declared."""

    code = "resource_not_shipped"


class LoadRefused(AsfittedError):
    """The artifact did not prove itself."""

    code = "load_refused"
    exit_code = 3


class ArtifactDamaged(LoadRefused):
    """A file is missing, changed, or not known to the manifest."""

    code = "artifact_damaged"


class EnvironmentMismatch(LoadRefused):
    """The installed versions are not those that the model was trained on."""

    code = "environment_mismatch"


class GoldenMismatch(LoadRefused):
    """The golden examples no longer give the recorded outputs."""

    code = "golden_mismatch"


class FormatTooNew(LoadRefused):
    """The artifact was written by a newer Asfitted."""

    code = "format_too_new"


class CodeCollision(LoadRefused):
    """Two models in one process ship different code under one module name."""

    code = "code_collision"


class CodeNotAllowed(LoadRefused):
    """Loading the model would run code, and a variable of the operator's forbids that."""

    code = "code_not_allowed"


class GateRefused(AsfittedError):
    """A gate said no; the alias was not moved."""

    code = "gate_refused"
    exit_code = 3


class RegistryError(AsfittedError):
    """No such model, version or alias, or no way back."""

    code = "registry_error"
    exit_code = 2


class RecordError(AsfittedError):
    """A prediction could not be recorded, so it was not answered."""

    code = "record_failed"
    exit_code = 4


class StoreUnavailable(AsfittedError):
    """A tracking server, sink or store does not answer; a retry may help."""

    code = "store_unavailable"
    exit_code = 4


def refusal_code(error: BaseException) -> str:
    """Return the code under which a request that was not answered is told and recorded."""
    told = (ContractViolation, OutputViolation, CheckFailed, RequestRefused, RecordError)
    return error.code if isinstance(error, told) else "internal"
