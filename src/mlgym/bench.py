"""A grid of episodes in one folder: what is done is read, what is missing is run."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from mlgym.allocator import Allocator
from mlgym.episode import Say, run_episode
from mlgym.records import Attempt, EpisodeSpec, Result, Step
from mlgym.store import episode_folder

Launcher = Callable[[Callable[[EpisodeSpec], Result], Iterable[EpisodeSpec]], Iterator[tuple[EpisodeSpec, Result]]]
OnStep = Callable[[EpisodeSpec, Step, Attempt | None], None]


def run_grid(
    specs: list[EpisodeSpec],
    run: Path,
    *,
    launcher: Launcher,
    on_step: OnStep = lambda *_: None,
    say: Callable[[EpisodeSpec, str], None] = lambda *_: None,
    allocator: Allocator | None = None,
) -> Iterator[tuple[EpisodeSpec, Result]]:
    """Run (or go on with, or read) every episode of `specs` under the folder `run`; yields them as they end.

    With an `allocator` each waits for its part of the machine, so that no more run at once than fit.
    """

    def one(spec: EpisodeSpec) -> Result:
        tell: Say = lambda note: say(spec, note)  # noqa: E731
        return run_episode(
            spec,
            episode_folder(run, spec),
            on_step=lambda step, attempt: on_step(spec, step, attempt),
            say=tell,
            allocator=allocator,
        )

    return launcher(one, specs)
