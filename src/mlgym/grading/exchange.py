"""One grading's frames between the grader and the player that it asks for, with the clocks of the submission's code."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from mlgym.errors import GradingError
from mlgym.grading.frames import FrameError

if TYPE_CHECKING:
    from mlgym.records import Stage

START_S = 60.0  # for a sandbox and its Python to be ready: generous, for loaded machines
GRACE_S = 10.0  # for the grader to say its verdict after the submission's time is over
ANSWER_BYTES = 64_000_000  # of one answer of the submission's code
GRADER_BYTES = 1 << 30

Frame = tuple[dict[str, Any], list[bytes]]


class Program(Protocol):
    """A grader or a player, wherever it runs: `program.Program` in a sandbox."""

    memory_mb: int

    def send(self, header: Mapping[str, Any], blobs: Sequence[bytes], deadline: float) -> None:
        """Write a frame."""

    def receive(self, max_bytes: int, deadline: float) -> Frame:
        """Read a frame."""

    def hit(self) -> str:
        """The bound that was hit."""

    def cpu_s(self) -> float:
        """Processor seconds taken."""

    def close(self) -> str:
        """Stop it; says how it had ended."""


class Died(GradingError):
    """A process of the grading ended by itself: once that may be anybody's doing, so the grading is done once more."""


class Exchange:
    """Relays until the grader says its verdict.

    What the player sends reaches the grader only as the arrays or the error of the question asked: it has no word for
    a verdict. `open_player` starts a fresh player, `timed` or not; `seconds` is the limit of the whole grading,
    `call_s` that of one call or batch of calls of the submission's code. With `lenient` a player that ends by a signal
    raises Died instead of being the submission's fault: behind full isolation that signal is hardly its own.
    """

    def __init__(
        self, open_player: Callable[[bool], Program], seconds: float, call_s: float, lenient: bool = False
    ) -> None:
        self._open_player = open_player
        self._lenient = lenient
        self._seconds = seconds
        self._call_s = call_s
        self._deadline = time.monotonic() + seconds
        self._player: Program | None = None
        self._cpu_before = 0.0  # what a timed player had taken when it was ready
        self.stage: Stage = "files"

    def run(self, grader: Program, request: dict[str, Any]) -> dict[str, Any]:
        """Send the request, answer the grader's questions, return its last frame; raises what `Program` raises."""
        grader.send(request, [], self._deadline)
        while True:
            header, blobs = grader.receive(GRADER_BYTES, self._deadline + GRACE_S)
            if header["op"] != "ask":
                return header
            grader.send(*self._ask(header, blobs), self._deadline + GRACE_S)

    def close(self) -> str:
        """Stop the player; says how it had ended, if it had."""
        player, self._player = self._player, None
        return player.close() if player else ""

    def _ask(self, header: dict[str, Any], blobs: list[bytes]) -> Frame:
        question = {**header, "op": header["do"]}
        if question["op"] == "load":
            self._start(question.pop("timed"))
        if self._player is None:
            return _failed("The submission's code has ended.")
        # Read before the player is asked: its answer then shows that it had not ended, and taken others' time along.
        taken = self._player.cpu_s() - self._cpu_before if question["op"] == "cpu" else 0.0
        end = min(time.monotonic() + self._call_s, self._deadline)
        try:
            self._player.send(question, blobs, end)
            answer, items = self._player.receive(ANSWER_BYTES, end)
        except TimeoutError:
            self.close()
            limits = f"{self._call_s:g} seconds for a batch of calls, {self._seconds:g} seconds in all"
            return _failed(f"The submission's code took too long and was stopped (limits: {limits}).")
        except EOFError:
            if self._player.hit() == "oom":
                memory_mb = self._player.memory_mb
                self.close()
                return _failed(f"The submission's code used more than its {memory_mb} MB of memory and was stopped.")
            how = self.close() or "without a word"
            if self._lenient and how.startswith("by signal"):
                raise Died(f"The sandbox that plays the submission ended {how}.") from None
            return _failed(f"The submission's code ended its own process ({how}) instead of returning an answer.")
        except FrameError as error:
            self.close()
            self.stage = "tampered"
            return _failed(f"The submission's code wrote into the grader's pipe: {error}")
        self._answered(question, answer["op"])
        if answer["op"] == "reply":
            return {"op": "reply", "cpu_s": taken}, items
        why = _line(answer.get("why")) if answer["op"] == "error" else ""
        if why and header.get("quiet"):
            why = "its words are not shown, for it had seen hidden data"
        return _failed(f"The submission's code failed: {why or 'what it sent is no answer'}.")

    def _answered(self, question: dict[str, Any], op: str) -> None:
        """Note that code of the submission ran, a module of it being imported, or that it forged an answer."""
        if op not in ("reply", "error"):
            self.stage = "tampered"
        elif op == "reply" and question.get("module") and self.stage == "files":
            self.stage = "ran"

    def _start(self, timed: bool) -> None:
        """Start the player; before any code of the submission runs, a failure is the infrastructure's."""
        self.close()
        self._player = self._open_player(timed)
        try:
            self._player.receive(0, time.monotonic() + START_S)
        except (TimeoutError, EOFError, FrameError) as error:
            how = self.close() or f"no answer within {START_S:g} seconds"
            raise Died(f"The sandbox that plays the submission did not start ({how}).") from error
        if timed:
            self._cpu_before = self._player.cpu_s()


def _failed(why: str) -> Frame:
    return {"op": "failed", "why": why}, []


def _line(text: object) -> str:
    """One printable line of what the submission wrote as its error."""
    return "".join(c if c.isprintable() else " " for c in str(text))[:500].strip().rstrip(".")
