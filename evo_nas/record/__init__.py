"""The record of a run: the truth of which population and lineage are readings.

::

    DIR/run.json                     header: format, configuration, task, metric    header.py
    DIR/segments/00000000.parquet    events, one file for each `Record.append`      segments.py
    DIR/segments/...-...parquet      many segments in one file                      layout.py
    DIR/checkpoints/                 manifests of such files                        checkpoint.py
    DIR/lock                         held by the manager that writes                durable.py
    DIR/lease/                       the same in a bucket                           lease.py

`writing` is for the one manager that writes, `reading` for everybody else. `storage` is how files
get where they stay, be it the disk (`durable`) or a bucket (`bucket`); `paths` tells the two apart.
`sealed` is how JSON carries its own SHA-256, `json_text` how that of a stranger is read.
"""

from evo_nas.errors import RecordError
from evo_nas.record.header import HEADER, Header, now, read_header
from evo_nas.record.paths import RunPath, run_path
from evo_nas.record.reading import read_events
from evo_nas.record.writing import Record, create_run, open_run

__all__ = [
    "HEADER",
    "Header",
    "Record",
    "RecordError",
    "RunPath",
    "create_run",
    "now",
    "open_run",
    "read_events",
    "read_header",
    "run_path",
]
