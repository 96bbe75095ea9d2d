"""The lines of the episodes that are looked at: of the last ones the facts are held."""

import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

from mlgym.viewer.index import Index
from mlgym.viewer.lines import Growing
from mlgym.viewer.writing import NAMES, READ

OPEN = 30_000  # lines of which the facts are held; those of one episode always are


class Opened:
    """Files of lines by their episode's folder, read from the `index` as far as it has them."""

    def __init__(self, index: Index | None) -> None:
        self._index = index
        self._held: OrderedDict[tuple[str, int], Growing[Any]] = OrderedDict()
        self._lock = threading.Lock()

    def lines(self, folder: str, kind: int) -> Growing[Any]:
        """The steps or the calls of an episode, as they are now."""
        with self._lock:
            grown = self._held.get((folder, kind))
            if grown is None:
                grown = self._held[folder, kind] = Growing(Path(folder) / NAMES[kind], READ[kind])
                if self._index and (known := self._index.facts(folder, kind)):
                    grown.take(*known)
            self._held.move_to_end((folder, kind))
            while len(self._held) > 2 and sum(len(each.facts) for each in self._held.values()) > OPEN:
                self._held.popitem(last=False)
        grown.look()
        return grown
