"""A task for the tests of faults: the submission's code is asked in a player, so every sandbox is in use."""

import json
import struct
from types import SimpleNamespace


class Numbers:
    """As much of an array of int64 as a player is sent, without numpy."""

    def __init__(self, *numbers):
        self.dtype, self.shape = SimpleNamespace(str="<i8"), (len(numbers),)
        self.data = struct.pack(f"<{len(numbers)}q", *numbers)

    def tobytes(self):
        """The numbers, eight bytes each."""
        return self.data


def prepare(public, private, *, settings, seed):
    """The answers, and something to read."""
    (public / "hint.txt").write_text("more than 38\n")
    (private / "answers.json").write_text(json.dumps({split: settings[split] for split in ("validation", "test")}))


def grade(submission, private, *, settings, split, seed):
    """1 / (1 + distance) of what `answer` returns."""
    guess = submission.player("strategy", seed=seed).numbers("answer", Numbers(1, 2))[0]
    return {"closeness": 1 / (1 + abs(guess - json.loads((private / "answers.json").read_text())[split]))}
