"""The attempts of one episode: what stands in the workspace is frozen, graded, and kept for a fallback."""

import contextlib
import copy
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from mlgym.disk import full, is_full
from mlgym.errors import GradingError, SandboxError
from mlgym.grading import Grader, Verdict, collect
from mlgym.grading.exchange import START_S
from mlgym.records import Attempt, Split
from mlgym.sandbox.shell import Shell
from mlgym.sandbox.tar import SubmissionRefused
from mlgym.task import Task

CODE_FILES, CODE_BYTES = 50, 200_000  # of the sources kept beside a submission: how many, and the largest
Kind = Literal["validate", "submit", "end"]
Checkout = Callable[[dict[str, str], Path], Path]


class Attempts:
    """Makes and keeps the attempts of one episode; `made` lists them, `final` is the one that ended it.

    `recorded` are the attempts of an interrupted episode by number, `checkout` lays their stored files into a folder:
    a recorded attempt is taken as it stands while its step is played back, and later if it holds the same files.
    """

    def __init__(
        self,
        task: Task,
        shell: Shell,
        grader: Grader,
        feedback: Split,
        place: Path,
        recorded: dict[int, Attempt],
        checkout: Checkout | None,
    ) -> None:
        self.made: list[Attempt] = []
        self.final: Attempt | None = None
        self.frozen: dict[int, Path] = {}
        self.grader_s = 0.0
        self._task, self._shell, self._grader, self._feedback = task, shell, grader, feedback
        self._place, self._recorded, self._checkout = place, recorded, checkout

    def make(self, kind: Kind, step: int, *, reason: str = "", replaying: bool = False) -> Attempt:
        """Freeze the submission and grade it: `validate` on the feedback split, an end on both.

        An end that is not valid is stood in for by the last valid attempt. Raises GradingError.
        """
        number = len(self.made)
        attempt = self._recorded.get(number)
        if attempt is None or not replaying:
            attempt = self._fresh(kind, step, reason, attempt)
        elif attempt.files and self._checkout:
            with contextlib.suppress(FileNotFoundError):  # let go for space: it can only be a poor one
                self.frozen[number] = self._checkout(attempt.files, self._folder())
        self.made.append(attempt)
        if kind != "validate":
            self.final = attempt
        return attempt

    def forked(self, shell: Shell, grader: Grader) -> "Attempts":
        """The attempts of an episode that goes on from here in another shell, with another grader."""
        other = copy.copy(self)
        other.made, other.frozen = list(self.made), dict(self.frozen)
        other._shell, other._grader, other._recorded = shell, grader, {}
        return other

    def complete(self, attempt: Attempt, files: Path) -> Attempt:
        """`attempt` with the scores of the splits that it lacks, from a folder of its files; raises GradingError.

        One that cannot be scored on a split is left without scores there.
        """
        splits: tuple[Split, ...] = ("validation", "test")
        for split in splits:
            if attempt.valid and getattr(attempt, split) is None:
                verdict = self._verdict(files, split)
                stage = verdict.stage if verdict.stage == "tampered" else attempt.stage
                attempt = attempt.changed(**{split: verdict.scores}, why=verdict.why, stage=stage)
        return attempt

    def _fresh(self, kind: Kind, step: int, reason: str, recorded: Attempt | None) -> Attempt:
        number = len(self.made)
        files, code, why = self._freeze(number)
        if recorded and (recorded.kind, recorded.files) == (kind, files) and not recorded.fallback:
            return recorded
        validations = sum(made.kind == "validate" for made in self.made) + (kind == "validate")
        by = self._grader.provenance.changed(feedback=self._feedback, validations=validations)
        attempt = Attempt(n=number, step=step, kind=kind, files=files, code=code, why=why or reason, provenance=by)
        if not why:
            attempt = self._graded(attempt, self.frozen[number])
        return attempt if kind == "validate" or attempt.valid else self._stand_in(attempt)

    def _graded(self, attempt: Attempt, files: Path) -> Attempt:
        verdict = self._verdict(files, self._feedback)
        if not verdict.valid:
            return attempt.changed(why=verdict.why, stage=verdict.stage)
        attempt = attempt.changed(valid=True, stage=verdict.stage, **{self._feedback: verdict.scores})
        if attempt.kind == "validate":
            return attempt
        attempt = self.complete(attempt, files)
        return attempt.changed(valid=attempt.validation is not None and attempt.test is not None)

    def _stand_in(self, end: Attempt) -> Attempt:
        """The last attempt that is valid on both splits in the place of an invalid end; the end where there is none."""
        for last in reversed(self.made):
            if not last.valid or last.n not in self.frozen:
                continue
            last = self.complete(last, self.frozen[last.n])
            if last.stage == "tampered":
                end = end.changed(stage=last.stage)
            if last.test is not None and last.validation is not None:
                self.frozen[end.n] = self.frozen[last.n]
                kept = {key: getattr(last, key) for key in ("files", "code", "valid", "validation", "test")}
                return end.changed(**kept, fallback=True)
        return end.changed(valid=False, validation=None, test=None)

    def _verdict(self, files: Path, split: Split) -> Verdict:
        """The grader's; where it could not begin for all that runs in the workspace, that is the agent's own doing."""
        began, busy = time.perf_counter(), self._shell.cpu_s
        try:
            return self._grader.grade(files, split)
        except GradingError:
            seconds = time.perf_counter() - began
            if seconds < START_S or self._shell.cpu_s - busy < seconds / 2:
                raise
            return Verdict(False, "what runs in the workspace left the grading no processor", None, seconds)
        except OSError as error:
            if is_full(error):
                raise full(self._place) from error
            raise GradingError(f"The grading of {self._task.name} failed on this machine: {error}.") from error
        finally:
            self.grader_s += time.perf_counter() - began

    def _folder(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self._place, prefix="attempt-"))

    def _freeze(self, number: int) -> tuple[dict[str, str], dict[str, str], str]:
        """The submission's files in a fresh folder, the sources beside it, and why there is none.

        A sandbox that is gone is no excuse: an agent might bring that about, so it makes an invalid attempt and not an
        unscored episode. A full disk raises StorageError; whose doing it is the environment decides.
        """
        limits = self._task.submission
        try:
            folder = self._folder()
            code = self._code(folder / "code")
            files = collect(
                self._shell, limits.paths, folder / "files", int(limits.max_mb * 1_000_000), limits.max_files
            )
        except SubmissionRefused as error:
            return {}, {}, str(error)
        except SandboxError as error:
            return {}, {}, f"the sandbox is gone ({error})"
        except OSError as error:
            if is_full(error):
                raise full(self._place) from error
            return {}, {}, f"the files could not be taken out of the workspace ({error.strerror or 'input or output'})"
        self.frozen[number] = folder / "files"
        return files, code, ""

    def _code(self, into: Path) -> dict[str, str]:
        """The baseline's files and the workspace's other Python files but those of data/, if small and plain."""
        with contextlib.suppress(SubmissionRefused, OSError):  # such as a disk that is full: the submission will say it
            found = self._shell.list(self._shell.workspace, depth=3)
            plain = (entry.path for entry in found if entry.kind == "file" and entry.size <= CODE_BYTES)
            names = [name for name in plain if not set("*?[") & set(name) and not name.startswith("data/")]
            own = self._task.baseline.files
            names = [*(n for n in names if n in own), *(n for n in names if n.endswith(".py") and n not in own)]
            if names:
                return collect(self._shell, names[:CODE_FILES], into, CODE_FILES * CODE_BYTES, CODE_FILES)
        return {}
