"""The record of a run: the truth of which population and lineage are readings.

::

    DIR/run.json                     header: format, configuration, task, metric    header.py
    DIR/segments/00000000.parquet    events, one file for each `Record.append`      segments.py
    DIR/segments/...-...parquet      many segments in one file                      layout.py
    DIR/checkpoints/                 manifests of such files                        checkpoint.py
    DIR/lock                         held by the manager that writes                durable.py

`writing` is for the one manager that writes, `reading` for everybody else; `durable` is how a file
gets onto the disk, `sealed` how JSON carries its own SHA-256.
"""

from evo_nas.errors import RecordError
from evo_nas.record.header import HEADER, Header, now, read_header
from evo_nas.record.reading import read_events
from evo_nas.record.writing import Record, create_run, open_run

__all__ = [
    "HEADER",
    "Header",
    "Record",
    "RecordError",
    "create_run",
    "now",
    "open_run",
    "read_events",
    "read_header",
]
