"""The prediction log: every answer on record before it leaves.

Written by `Journal`, one SQLite file per process; read by `read_log`, all files
of a folder as one; moved to a sink by `Shipper`. This package travels inside model
artifacts: it imports the standard library, the errors and the configuration, pandas
where it makes a DataFrame, and what a sink needs when that sink is opened.
"""

from asfitted.prediction_log.fields import FieldPolicy, strictest
from asfitted.prediction_log.frame import read_log
from asfitted.prediction_log.ids import uuid7
from asfitted.prediction_log.journal import Journal
from asfitted.prediction_log.place import default_folder
from asfitted.prediction_log.record import RECORD_FORMAT, Batch

__all__ = [
    "RECORD_FORMAT",
    "Batch",
    "FieldPolicy",
    "Journal",
    "default_folder",
    "read_log",
    "strictest",
    "uuid7",
]
