"""Texts that are alike: MinHash over what an agent did, and shared word sequences with tasks that are held out."""

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mlgym.records import Action
from mlgym.task import Task

HASHES, BANDS, SHINGLE = 128, 32, 5
_PRIME = (1 << 31) - 1
_LUCK = np.random.default_rng(20261129)
_A = _LUCK.integers(1, _PRIME, HASHES, dtype=np.uint64)
_B = _LUCK.integers(0, _PRIME, HASHES, dtype=np.uint64)
_WORD = re.compile(r"\w+|[^\w\s]")
_PLAIN = re.compile(r"[a-z]\w*|\d+(?:\.\d+)?")
_NUMBERED = re.compile(r"^ *\d+[:\t]", re.MULTILINE)  # a line as `view`, `open`, `cat -n` and `grep -n` show it
_NOT_HEX = bytes(set(range(256)) - set(b"0123456789abcdef"))


def doing(actions: Iterable[Action]) -> str:
    """What an agent did, without what it thought: prompts and answers are shared by construction."""
    return "\n".join(f"{action.tool} {json.dumps(action.args, sort_keys=True)}" for action in actions)


def signature(text: str) -> NDArray[np.uint32]:
    """The MinHash of a text's sequences of SHINGLE words (Broder 1997): the share of equal entries of two signatures
    estimates the Jaccard similarity of their sets, with a standard deviation of at most 0.5 / √HASHES.
    """
    words = _WORD.findall(text)
    shingles = {" ".join(words[at : at + SHINGLE]) for at in range(max(1, len(words) - SHINGLE + 1))}
    keys = np.fromiter((_key(each) % _PRIME for each in shingles), np.uint64, len(shingles))
    found: NDArray[np.uint32] = np.min((keys[:, None] * _A + _B) % _PRIME, axis=0).astype(np.uint32)
    return found


class Seen:
    """The signatures that were taken; those that share a band of HASHES / BANDS entries are compared with a new one."""

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._bands: dict[tuple[int, bytes], list[int]] = {}
        self._taken: list[NDArray[np.uint32]] = []

    def take(self, new: NDArray[np.uint32]) -> bool:
        """Whether nothing alike was taken before; it is taken then."""
        keys = [(number, band.tobytes()) for number, band in enumerate(np.split(new, BANDS))]
        near = {place for key in keys for place in self._bands.get(key, ())}
        if any(float(np.mean(self._taken[place] == new)) >= self._threshold for place in near):
            return False
        for key in keys:
            self._bands.setdefault(key, []).append(len(self._taken))
        self._taken.append(new)
        return True


class HeldOut:
    """Sequences of `n` words of held-out tasks: their instructions, starting files and solutions.

    What several of these tasks share is no sign of one of them (an import, a phrase of the house), nor is what stands
    in `common`, the words of the exporter and of tasks that may be trained on.
    """

    def __init__(self, tasks: Iterable[Task], n: int, common: Iterable[str] = ()) -> None:
        self.n, self.names = n, list[str]()
        self._of: dict[int, int] = {}
        folders: dict[Path, Task] = {}
        for task in tasks:
            folders.setdefault(task.folder, task)
        for number, (folder, task) in enumerate(folders.items()):
            self.names.append(folder.name)
            for text in _texts(task):
                for key in self._keys(text):
                    other = self._of.setdefault(key, number)
                    if other != number:
                        self._of[key] = -1
        for text in common:
            for key in self._keys(text):
                self._of[key] = -1

    def found(self, texts: Iterable[str], at_least: int) -> str:
        """The held-out task of which `at_least` different sequences stand in the texts; empty for none."""
        hits: dict[int, set[int]] = {}
        for text in texts:
            for key in self._keys(text):
                number = self._of.get(key, -1)
                if number >= 0:
                    hits.setdefault(number, set()).add(key)
        worst = max(hits, key=lambda number: (len(hits[number]), -number), default=-1)
        return self.names[worst] if worst >= 0 and len(hits[worst]) >= at_least else ""

    def _keys(self, text: str) -> Iterator[int]:
        words = _PLAIN.findall(_NUMBERED.sub("", unicodedata.normalize("NFKC", text)).lower())
        for at in range(len(words) - self.n + 1):
            yield hash(tuple(words[at : at + self.n]))


def hexed(texts: Iterable[str]) -> bytes:
    """The hexadecimal digits of the texts, one after another: an id of a canary stands there however it was written."""
    joined = "".join(texts)
    return unicodedata.normalize("NFKC", joined).lower().encode("ascii", "ignore").translate(None, _NOT_HEX)


def split_of(key: str, validation: float) -> str:
    """train or validation, by a hash of the key alone: the same in every export."""
    place = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64
    return "validation" if place < validation else "train"


def _key(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def _texts(task: Task) -> Iterator[str]:
    yield task.instruction
    folders = [task.folder / "workspace", *task.folder.glob("workspace-*"), *([task.solution] if task.solution else [])]
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.suffix in (".py", ".md", ".txt", ".toml", ".sh"):
                yield path.read_text(errors="replace")
