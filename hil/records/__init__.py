"""Run folders: plain files that say what a run did, written while it goes on and read afterwards.

`RunWriter` writes, `read` reads, `list_runs` lists; `EVENTS`, `COLUMNS` and `RAIL` say what events, results.csv and fields/*.npz hold.
`hil.records.verifying`, `comparing` and `exporting` look at runs that are there; `recomputing` compares a replay with its run.
"""

from hil.records.events import EVENTS, FIELDS_OF_ALL
from hil.records.layout import RAIL
from hil.records.names import new as new_name
from hil.records.names import resolve
from hil.records.reader import Listed, Run, TornRecord, list_runs, read
from hil.records.results import COLUMNS
from hil.records.sigmf import Recorded
from hil.records.writer import RunWriter

__all__ = [
    "COLUMNS",
    "EVENTS",
    "FIELDS_OF_ALL",
    "Listed",
    "RAIL",
    "Recorded",
    "Run",
    "RunWriter",
    "TornRecord",
    "list_runs",
    "new_name",
    "read",
    "resolve",
]
