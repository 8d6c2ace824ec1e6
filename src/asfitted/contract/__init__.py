"""What a row must be, and the one piece of code that makes it so."""

from asfitted.contract.checks import Check
from asfitted.contract.column import Column, Fill
from asfitted.contract.conform import Conformed, Finding, conform
from asfitted.contract.diff import Change, diff
from asfitted.contract.schema import DataContract
from asfitted.contract.sections import Limits, Output
from asfitted.contract.step import Conform
from asfitted.contract.target import check_target

__all__ = [
    "Change",
    "Check",
    "Column",
    "Conform",
    "Conformed",
    "DataContract",
    "Fill",
    "Finding",
    "Limits",
    "Output",
    "check_target",
    "conform",
    "diff",
]
