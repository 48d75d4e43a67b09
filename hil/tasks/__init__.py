"""Many independent tasks on many processors: each knows its parameters and its own seed, and is done once.

A task is a function at the top of a module, called with its parameters and a `SeedSequence`; its result is plain data (numbers, text,
lists, dictionaries). Tasks are known by a hash of function, parameters and seed. With a folder, results are kept as KEY.json, and a
second call does only what is missing. Neither order nor number of workers nor the engine changes a result.
"""

from hil.tasks.engines import engine
from hil.tasks.local import LocalProcesses
from hil.tasks.running import Engine, kept, run
from hil.tasks.task import Outcome, Parameters, TasksFailed, Work, key_of, seed_of

__all__ = ["Engine", "LocalProcesses", "Outcome", "Parameters", "TasksFailed", "Work", "engine", "kept", "key_of", "run", "seed_of"]
