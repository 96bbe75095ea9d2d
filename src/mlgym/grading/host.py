"""The host's side of a grading: it starts grader and player, hands over frozen copies and turns failures into words."""

import contextlib
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from mlgym.cache import cache_dir
from mlgym.errors import GradingError, SandboxError
from mlgym.grading.exchange import START_S, Died, Exchange
from mlgym.grading.frames import FrameError
from mlgym.grading.prepare import KINDS, Prepared
from mlgym.grading.program import Program
from mlgym.grading.submission import copy
from mlgym.records import Provenance, Scores, Split, Stage
from mlgym.sandbox import Bind, Sandbox, SandboxLimits, SandboxSpec, choose
from mlgym.sandbox.scratch import remove, scratch

SUBMISSION, HIDDEN = "/submission", "/grader"


@dataclass(frozen=True)
class Verdict:
    """What the grader says of a submission: scores, or in one sentence why there are none. `seconds` of wall clock;
    `stage` as in an Attempt.
    """

    valid: bool
    why: str
    scores: Scores | None
    seconds: float
    stage: Stage = "files"


class Grader:
    """Grades submissions of one task; its grader sandbox starts with the first one and serves all.

    Where a process of it ends by itself, a grading is done once more with fresh ones. Raises GradingError where the
    infrastructure or the task's own grader fails; a submission's fault is a verdict. `processors` and `gpus` are those
    of the episode; only the submission's own code sees the cards.
    """

    def __init__(
        self,
        prepared: Prepared,
        backend: str | type[Sandbox] = "auto",
        processors: tuple[int, ...] = (),
        gpus: tuple[int, ...] = (),
    ) -> None:
        self._prepared = prepared
        self._task = prepared.task
        self._backend = choose(backend) if isinstance(backend, str) else backend
        self._limits = SandboxLimits(memory_mb=prepared.task.limits.memory_mb)
        self._processors, self._gpus = processors, gpus
        self._open = contextlib.ExitStack()
        self._place: Path | None = None
        self._grader: Program | None = None
        self._count = 0

    def grade(self, files: Path, split: Split, seed: int = 0) -> Verdict:
        """Grade a folder of the submission's files. `seed` chooses the luck of a test that has some."""
        began = time.monotonic()
        self._count += 1
        frozen = self._folder() / "frozen" / str(self._count)
        try:
            copy(files, frozen)
            try:
                answer = self._answer(frozen, split, seed, lenient=self._backend.isolation == "full")
            except Died:
                answer = self._answer(frozen, split, seed, lenient=False)
        except SandboxError as error:
            raise GradingError(f"A sandbox of the grading did not start: {error}") from error
        finally:
            for left in (frozen, *frozen.parent.parent.glob("player-*")):
                remove(left)
        if answer["op"] != "verdict":
            raise GradingError(f"The grader of {self._task.name} failed: {answer.get('why')}.")
        if answer["valid"] and self._task.metric not in answer["scores"]:
            raise GradingError(f"The grader of {self._task.name} gave no {self._task.metric}.", lasting=True)
        stage: Stage = "graded" if answer["valid"] else answer["stage"]
        return Verdict(answer["valid"], answer["why"], answer["scores"], time.monotonic() - began, stage)

    @property
    def provenance(self) -> Provenance:
        """What this grader's scores depend on."""
        prepared = self._prepared
        return Provenance(
            task=self._task.name,
            version=self._task.version,
            grader=prepared.grader_version,
            data=prepared.data_version,
            environment=prepared.python or prepared.env.name,
            grader_environment=prepared.grader_env.name,
            backend=self._backend.name,
            isolation=self._backend.isolation,
        )

    def close(self) -> None:
        """Stop the grader; safe to call twice."""
        self._stop()
        self._open.close()
        self._place = None

    def __enter__(self) -> "Grader":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _folder(self) -> Path:
        if self._place is None:
            self._place = self._open.enter_context(scratch(cache_dir() / "scratch"))
            for name in ("frozen", "grader"):
                (self._place / name).mkdir()
        return self._place

    def _answer(self, frozen: Path, split: Split, seed: int, lenient: bool) -> dict[str, Any]:
        """The grader's last frame; whatever breaks the exchange takes the warm grader with it."""
        seconds = self._task.limits.grade_s
        request = {"op": "grade", "name": frozen.name, "settings": self._task.settings, "split": split, "seed": seed}
        grader = self._grader or self._start()
        exchange = Exchange(lambda timed: self._player(frozen, timed), seconds, self._task.limits.call_s, lenient)
        self._grader = None  # until the exchange has come to its end
        try:
            answer = exchange.run(grader, request)
            self._grader = grader
            return {**answer, "stage": exchange.stage}
        except TimeoutError:
            why = f"Grading this submission took longer than the task's limit of {seconds:g} seconds."
            return {"op": "verdict", "valid": False, "why": why, "scores": None, "stage": exchange.stage}
        except (EOFError, FrameError) as error:
            if grader.hit() == "oom" and not lenient:  # what a submission can bring about is its fault
                why = f"Grading this submission took more than {self._limits.memory_mb} MB of memory."
                return {"op": "verdict", "valid": False, "why": why, "scores": None, "stage": exchange.stage}
            raise Died(f"The grader of {self._task.name} ended without a verdict.") from error
        finally:
            exchange.close()
            if self._grader is None:
                grader.close()

    def _start(self) -> Program:
        place = self._folder()
        binds = (
            Bind(self._task.code, f"{HIDDEN}/task.py"),
            Bind(KINDS, f"{HIDDEN}/kinds"),
            Bind(self._prepared.private, f"{HIDDEN}/private"),
            Bind(place / "frozen", f"{HIDDEN}/submissions", live=True),
        )
        env, processors = self._prepared.grader_env, self._processors
        spec = SandboxSpec(place / "grader", env, binds, {}, self._limits, processors=processors)
        places = ("task.py", "kinds", "private", "submissions")
        grader = Program(self._backend, spec, "grader_main.py", [f"{HIDDEN}/{name}" for name in places])
        try:
            header, _ = grader.receive(0, time.monotonic() + START_S)
        except (TimeoutError, EOFError, FrameError) as error:
            how = grader.close() or f"no answer within {START_S:g} seconds"
            raise Died(f"The grader of {self._task.name} did not start ({how}).") from error
        if header["op"] != "ready":
            grader.close()
            raise GradingError(f"The grader of {self._task.name} did not start: {header.get('why')}.")
        return grader

    def _player(self, frozen: Path, timed: bool) -> Program:
        """A player with a workspace of its own: what it leaves there reaches no later one."""
        folder = Path(tempfile.mkdtemp(dir=self._folder(), prefix="player-"))
        folder.chmod(0o755)
        binds = (Bind(frozen, SUBMISSION), *self._prepared.shown)
        given = {"PYTHONHASHSEED": "0"}
        spec = SandboxSpec(folder, self._prepared.env, binds, given, self._limits, timed, self._processors, self._gpus)
        return Program(self._backend, spec, "player_main.py", [SUBMISSION])

    def _stop(self) -> None:
        grader, self._grader = self._grader, None
        if grader:
            grader.close()
