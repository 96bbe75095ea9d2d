"""An episode as a launcher runs it: in a thread, in another process or on another machine, stopped when asked."""

import functools
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mlgym import models
from mlgym.allocator import Allocator
from mlgym.driver import stop_word, word
from mlgym.episode import run_episode
from mlgym.errors import InUse, SandboxError, SourceError, Stopped
from mlgym.halt import GRACE_S, Halt
from mlgym.records import Attempt, EpisodeSpec, Failure, Outcome, Step
from mlgym.store import episode_folder

Job = Callable[[EpisodeSpec], Outcome]
OnStep = Callable[[EpisodeSpec, Step, Attempt | None], None]
Say = Callable[[EpisodeSpec, str], None]
ASKED = threading.Event()  # set in a process (by its signal handler): its episodes stop and can go on


@dataclass(frozen=True)
class RunEpisode:
    """The job of a launcher: run (or go on with, or read) an episode under the folder `run`.

    It can be pickled and sent to another process or machine, where what it tells is not heard. Each episode waits for
    its part of the machine (`allocator`, else one that may use the cards `gpus`; with `governed` False it runs at
    once). It stops where `ASKED` is set in its process, where the run or the episode was cancelled, and where its
    `driver` says so; a step under way then has `grace_s`. No model that costs money is asked any more where the driver,
    or in this process `broke`, says why. What only the user can mend is raised (UsageError, StorageError); any other
    end is a Result or a Failure.
    """

    run: Path
    gpus: str = ""
    governed: bool = True
    allocator: Allocator | None = None
    driver: str = ""
    grace_s: float = GRACE_S
    on_step: OnStep | None = None
    say: Say | None = None
    broke: Callable[[], str] | None = None

    def __call__(self, spec: EpisodeSpec) -> Outcome:
        """Run one episode."""
        folder = episode_folder(self.run, spec)
        try:
            return run_episode(
                spec,
                folder,
                on_step=lambda step, attempt: self.on_step(spec, step, attempt) if self.on_step else None,
                say=lambda note: self.say(spec, note) if self.say else None,
                allocator=(self.allocator or Allocator(self.gpus)) if self.governed else None,
                halt=Halt(functools.partial(self._word, folder), self.grace_s, self._broke if costly(spec) else str),
            )
        except InUse as error:
            return Failure(boundary="busy", why=str(error))
        except (SandboxError, SourceError, Stopped) as error:
            return Failure(boundary=error.boundary, why=str(error), lasting=error.lasting)

    def at(self, run: Path) -> "RunEpisode":
        """The same for a folder that the driver does not see, such as one of another machine."""
        return replace(self, run=run, driver="")

    def __reduce__(self) -> tuple[Any, ...]:
        """What is told and asked stays in this process."""
        return RunEpisode, (self.run, self.gpus, self.governed, self.allocator, self.driver, self.grace_s)

    def _word(self, folder: Path) -> str:
        if ASKED.is_set():
            return "It was asked to stop."
        return stop_word(self.run, self.driver, folder)

    def _broke(self) -> str:
        return self.broke() if self.broke else word(self.run, self.driver, "broke")


def costly(spec: EpisodeSpec) -> bool:
    """Whether an episode may cost money: it has a model, and not one that is known to be the user's own."""
    return bool(spec.model) and not models.free(spec.model, spec.base_url)
