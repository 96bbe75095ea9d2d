"""Recorded runs of other systems, read into a store as ordinary episodes. What is read is data and never run."""

from mlgym.importers.run import Imported, import_runs
from mlgym.importers.tasks import by_our_name

__all__ = ["Imported", "by_our_name", "import_runs"]
