"""A grid of episodes in one folder: what is done is read, what is missing is run."""

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mlgym.allocator import Allocator
from mlgym.episode import run_episode
from mlgym.records import Attempt, EpisodeSpec, Failure, Outcome, Result, Step
from mlgym.store import episode_folder

__all__ = ["Failure", "Job", "Launcher", "Outcome", "RunEpisode", "run_grid"]

Job = Callable[[EpisodeSpec], Outcome]
Launcher = Callable[[Job, Iterable[EpisodeSpec | None]], Iterator[tuple[EpisodeSpec, Outcome]]]
OnStep = Callable[[EpisodeSpec, Step, Attempt | None], None]
Say = Callable[[EpisodeSpec, str], None]
ASKED = threading.Event()  # set in a process (by its signal handler): its episodes stop and can go on


@dataclass(frozen=True)
class RunEpisode:
    """The job of a launcher: run (or go on with, or read) an episode under the folder `run`.

    It can be pickled and sent to another process or machine, where what it tells is not heard. Each episode waits for
    its part of the machine (`allocator`, else one that may use the cards `gpus`; with `governed` False it runs at
    once). What only the user can mend is raised (UsageError, StorageError); any other end is a Result or a Failure.
    """

    run: Path
    gpus: str = ""
    governed: bool = True
    allocator: Allocator | None = None
    on_step: OnStep | None = None
    say: Say | None = None

    def __call__(self, spec: EpisodeSpec) -> Outcome:
        """Run one episode."""
        return run_episode(
            spec,
            episode_folder(self.run, spec),
            on_step=lambda step, attempt: self.on_step(spec, step, attempt) if self.on_step else None,
            say=lambda note: self.say(spec, note) if self.say else None,
            allocator=(self.allocator or Allocator(self.gpus)) if self.governed else None,
        )

    def at(self, run: Path) -> "RunEpisode":
        """The same for another folder, which another machine may have."""
        return replace(self, run=run)

    def __reduce__(self) -> tuple[Any, ...]:
        """What is told goes to this process alone."""
        return RunEpisode, (self.run, self.gpus, self.governed, self.allocator)


def run_grid(
    specs: list[EpisodeSpec],
    run: Path,
    *,
    launcher: Launcher,
    on_step: OnStep | None = None,
    say: Say | None = None,
    allocator: Allocator | None = None,
) -> Iterator[tuple[EpisodeSpec, Result]]:
    """Run (or go on with, or read) every episode of `specs` under the folder `run`; yields them as they end.

    With an `allocator` each waits for its part of the machine, so that no more run at once than fit.
    """
    job = RunEpisode(run, governed=allocator is not None, allocator=allocator, on_step=on_step, say=say)
    for spec, outcome in launcher(job, specs):
        if isinstance(outcome, Result):
            yield spec, outcome
