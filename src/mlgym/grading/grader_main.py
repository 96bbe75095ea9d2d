"""The grader: calls the task's `grade` with frozen submissions. Standard library only: it is sent inside.

It runs where the answers are, never runs the submission's code, and keeps the randomness. It reads requests from the
host and writes there what it needs from the player, and at last the verdict; its own output goes nowhere.
Arguments, places inside: the task's module, the package `kinds`, the task's private folder, the frozen submissions.
"""

import importlib.util
import math
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

from mlgym.grading.frames import Array, FrameError, from_npy, read_frame, to_npy, write_frame

REPLY_BYTES = 1 << 30


class Invalid(Exception):
    """The submission's fault, said in one sentence."""


class Host:
    """The pipes to the host."""

    def __init__(self) -> None:
        requests, answers = os.dup(0), os.dup(1)
        nowhere = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(nowhere, fd)
        os.close(nowhere)
        self.requests: BinaryIO = os.fdopen(requests, "rb")
        self.answers: BinaryIO = os.fdopen(answers, "wb")

    def read(self) -> tuple[dict[str, Any], list[bytes]]:
        """The next frame from the host."""
        return read_frame(self.requests, REPLY_BYTES)

    def write(self, header: dict[str, Any], blobs: Sequence[bytes] = ()) -> None:
        """Send a frame to the host."""
        self.answers.write(write_frame(header, blobs))
        self.answers.flush()


class Player:
    """The submission's code in a sandbox of its own, reached through the host; it may answer anything.

    In one that is `trusted` nothing of the submission runs: there a failure is not the submission's.
    """

    def __init__(self, host: Host, trusted: bool = False) -> None:
        self._host = host
        self._trusted = trusted

    def ask(
        self,
        header: dict[str, Any],
        arrays: Sequence[Any] = (),
        expect: Sequence[tuple[str, tuple[int, ...] | None]] = (),
    ) -> list[Array]:
        """Send numpy arrays, get arrays of exactly the expected types and shapes; anything else is Invalid.

        The shape None is one axis of any length.
        """
        items = [Array(a.dtype.str, a.shape, a.tobytes()) for a in arrays]
        _, blobs = self._answer(header, [to_npy(item) for item in items])
        try:
            found = [from_npy(blob) for blob in blobs]
        except FrameError as error:
            raise Invalid(f"The submission answered with something else than arrays: {error}") from error
        wanted = [
            (kind, a.shape if shape is None and len(a.shape) == 1 else shape)
            for a, (kind, shape) in zip(found, expect, strict=False)
        ]
        if len(found) != len(expect) or [(a.descr, a.shape) for a in found] != wanted:
            what = "something else" if header.get("quiet") else _shapes(found)
            raise Invalid(f"The submission answered with {what} where {_shapes(expect)} was expected.")
        return found

    def _answer(self, header: dict[str, Any], blobs: Sequence[bytes] = ()) -> tuple[dict[str, Any], list[bytes]]:
        self._host.write({**header, "op": "ask", "do": header["op"]}, blobs)
        answer, found = self._host.read()
        if answer["op"] == "reply":
            return answer, found
        if self._trusted:
            raise RuntimeError(f"what it runs itself in a player failed ({answer['why']})")
        raise Invalid(answer["why"])

    def define(self, module: str, source: str) -> None:
        """Run a text as a module of that name; its functions are called from then on."""
        self.ask({"op": "define", "module": module, "source": source})

    def numbers(self, function: str, item: Any) -> list[int]:
        """Call a function once with the array as a list (of tuples); as many whole numbers as it returns."""
        found = self.ask({"op": "numbers", "function": function}, [item], [("<i8", None)])[0]
        return memoryview(found.data).cast("q").tolist()

    def cpu_s(self) -> float:
        """Processor seconds that a `timed` player has taken so far, measured by the host from outside.

        All its processes and threads together, from before the first line of the submission's code on.
        """
        return float(self._answer({"op": "cpu"})[0]["cpu_s"])

    def each(self, function: str, item: Any, width: int = 0) -> Array:
        """Call a function of the submission for each item of the array: int64 answers, `width` each (0: a number)."""
        shape = (len(item), width) if width else (len(item),)
        return self.ask({"op": "each", "function": function, "width": width}, [item], [("<i8", shape)])[0]

    def batch(
        self,
        function: str,
        arrays: Sequence[Any],
        expect: Sequence[tuple[str, tuple[int, ...]]],
        quiet: bool = False,
    ) -> list[Array]:
        """Call a function of the submission once with all the arrays; `quiet` where these are hidden from the agent.

        What the submission says of its failure is then not handed on: it could say what it saw.
        """
        return self.ask({"op": "batch", "function": function, "quiet": quiet}, arrays, expect)


class Submission:
    """A frozen copy of the submission: `folder` to read, or `player` to run its code elsewhere."""

    def __init__(self, folder: Path, host: Host) -> None:
        self.folder = folder
        self._host = host

    def path(self, name: str) -> Path:
        """The frozen file of that name; Invalid if the submission has none."""
        path = self.folder / name
        if not path.is_file():
            raise Invalid(f"The submission has no file {name}.")
        return path

    def player(self, module: str, seed: int, timed: bool = False) -> Player:
        """A fresh player that has imported `module`, with the randomness of `random` (and numpy) seeded.

        It takes the place of the one before. Without a module it runs nothing of the submission, only what the grader
        defines.
        """
        player = Player(self._host, trusted=not module)
        player.ask({"op": "load", "module": module, "seed": seed, "timed": timed})
        return player


def _shapes(items: Sequence[Any]) -> str:
    return " and ".join(f"{item[0]}{list(item[1] or '…')}" for item in items) or "nothing"


def checked(scores: Any) -> dict[str, float]:
    """The scores as numbers; raises Invalid for a number that is not finite, TypeError for anything else."""
    if not isinstance(scores, dict) or not scores:
        raise TypeError("grade must return a dictionary of metric and number")
    found = {str(name): float(score) for name, score in scores.items()}
    for name, score in found.items():
        if not math.isfinite(score):
            raise Invalid(f"The score '{name}' of this submission is not a finite number.")
    return found


def last_line(error: BaseException) -> str:
    """The error with the place where it arose."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{Path(frame.filename).name} line {frame.lineno}: {traceback.format_exception_only(error)[-1].strip()}"


def serve(host: Host, task: Any, invalid: tuple[type[Exception], ...], private: Path, submissions: Path) -> None:
    """Grade until the host closes the pipe."""
    while True:
        try:
            header, _ = host.read()
        except EOFError:
            return
        try:
            submission = Submission(submissions / header["name"], host)
            scores = checked(
                task.grade(submission, private, settings=header["settings"], split=header["split"], seed=header["seed"])
            )
            verdict = {"op": "verdict", "valid": True, "why": "", "scores": scores}
        except invalid as error:
            verdict = {"op": "verdict", "valid": False, "why": str(error)[:1000], "scores": None}
        except MemoryError:
            why = "The grader ran out of memory over this submission."
            verdict = {"op": "verdict", "valid": False, "why": why, "scores": None}
        except Exception as error:
            verdict = {"op": "broken", "why": last_line(error)[:1000]}
        host.write(verdict)


def load(name: str, path: Path, package: Path | None = None) -> Any:
    """A module from its file, so that nothing beside it becomes importable."""
    places = [str(package)] if package else None
    spec = importlib.util.spec_from_file_location(name, path, submodule_search_locations=places)
    if not spec or not spec.loader:
        raise ImportError(f"{path} is no Python module")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> None:
    """Load the task's module and serve."""
    host = Host()
    module, kinds, private, submissions = map(Path, sys.argv[1:5])
    try:
        refusal = load("kinds", kinds / "__init__.py", kinds).InvalidSubmission
        task = load("task", module)
    except Exception as error:
        host.write({"op": "broken", "why": last_line(error)[:1000]})
        return
    host.write({"op": "ready"})
    serve(host, task, (Invalid, refusal), private, submissions)


if __name__ == "__main__":
    main()
