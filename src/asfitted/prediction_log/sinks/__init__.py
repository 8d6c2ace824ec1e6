"""Sinks: where the shipper moves the journals' rows, chosen by URL.

``sqlite:///path``, ``postgresql+psycopg://…``, ``s3://bucket/prefix`` or a folder
(``file:///dir`` or a plain path) for a dataset of Parquet files, and what the entry
points ``asfitted.sinks`` add.
"""

from asfitted.prediction_log.sinks.protocol import Row, RowsRefused, Sink
from asfitted.prediction_log.sinks.reading import log_records, sink_records
from asfitted.prediction_log.sinks.urls import open_sink, public_name

__all__ = ["Row", "RowsRefused", "Sink", "log_records", "open_sink", "public_name", "sink_records"]
