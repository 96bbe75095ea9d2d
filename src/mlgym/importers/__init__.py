"""Recorded runs of other systems, read into a store as ordinary episodes. What is read is data: nothing of it is run."""

from mlgym.importers.run import Imported, import_runs
from mlgym.importers.tasks import progress

__all__ = ["Imported", "import_runs", "progress"]
