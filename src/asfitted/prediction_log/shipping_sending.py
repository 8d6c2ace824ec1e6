"""Rows on their way into a sink: a poisoned one goes to quarantine, and stops nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

from asfitted.prediction_log.shipping_journals import damage
from asfitted.prediction_log.shipping_state import ShippingState
from asfitted.prediction_log.sinks.protocol import Row, RowsRefused, Sink
from asfitted.prediction_log.tables import TABLES, Table

SEQUENCE_AT = {table: columns.index("sequence") for table, columns in TABLES.items()}


class Sending:
    """Sends rows, and keeps in quarantine what a sink will never take.

    Parameters
    ----------
    state : ShippingState
    on_problem : callable
        Called with a sentence for each row that goes to quarantine.
    """

    def __init__(self, state: ShippingState, on_problem: Callable[[str], None]) -> None:
        self._state, self._on_problem = state, on_problem

    def send(self, sink: Sink, table: Table, writer: str, rows: Sequence[Row]) -> None:
        """Send the rows that are sound; the others go to quarantine.

        Raises
        ------
        StoreUnavailable
        """
        sound = []
        for row in rows:
            reason = damage(table, row)
            if reason is None:
                sound.append(row)
            else:
                self._quarantine(table, writer, row, reason)
        self._send(sink, table, writer, sound)

    def retry(self, sink: Sink) -> int:
        """Send what is in quarantine once more; return how many rows the sink took.

        Raises
        ------
        StoreUnavailable
        """
        taken = 0
        for table, writer, sequence, row in self._state.quarantined_rows():
            if damage(table, row) is None:
                with contextlib.suppress(RowsRefused):
                    sink.write(table, [row])
                    self._state.release(table, writer, sequence)
                    taken += 1
        return taken

    def _send(self, sink: Sink, table: Table, writer: str, rows: Sequence[Row]) -> None:
        """Send `rows`; those that the sink refuses for what is in them go to quarantine."""
        if not rows:
            return
        try:
            sink.write(table, rows)
        except RowsRefused as refusal:
            if len(rows) == 1:
                self._quarantine(table, writer, rows[0], str(refusal))
                return
            half = len(rows) // 2
            self._send(sink, table, writer, rows[:half])
            self._send(sink, table, writer, rows[half:])

    def _quarantine(self, table: Table, writer: str, row: Row, reason: str) -> None:
        sequence = row[SEQUENCE_AT[table]]
        self._state.quarantine(table, writer, sequence, row, reason)
        self._on_problem(f"{table} {sequence} of writer {writer} is in quarantine: {reason}")
