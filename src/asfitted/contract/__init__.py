"""What a row must be, and the one piece of code that makes it so."""

from asfitted.contract.column import Column, Fill
from asfitted.contract.conform import Conformed, Finding, conform
from asfitted.contract.schema import DataContract, Limits
from asfitted.contract.step import Conform

__all__ = [
    "Column",
    "Conform",
    "Conformed",
    "DataContract",
    "Fill",
    "Finding",
    "Limits",
    "conform",
]
