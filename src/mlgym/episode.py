"""One episode: the only place where agent, model, environment and store meet.

However it ends, its state is graded on the test split and the result written last. Running it again on the same folder
goes on: recorded actions are played back off the clock, the agent is fed the recorded observations and the recorded
replies of the model, recorded attempts are not graded again.
"""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mlgym import beside, onward
from mlgym.allocator import Allocator, Share, Want
from mlgym.cache import cache_dir
from mlgym.cast import Say
from mlgym.disk import full, is_full
from mlgym.errors import SandboxError, SourceError
from mlgym.halt import Halt
from mlgym.records import EpisodeSpec, Result
from mlgym.rollout import Lost, OnStep, Rollout
from mlgym.sandbox import cgroups
from mlgym.sandbox.scratch import sweep
from mlgym.store import Episode
from mlgym.task import load_task


def run_episode(
    spec: EpisodeSpec,
    folder: Path,
    *,
    on_step: OnStep = lambda *_: None,
    say: Say = lambda _: None,
    allocator: Allocator | None = None,
    halt: Halt | None = None,
) -> Result:
    """Run the episode of `spec` in `folder`, or go on with it, or return its result if it is done.

    `on_step` is called after each step that is not a playback, `say` with one-line notes. An unscored result, which a
    fault of the provider or the grader left, is gone on with too. Raises UsageError for what the user must mend,
    SandboxError where no sandbox starts and SourceError where data cannot be had, both kept as a failed try,
    StorageError where the disk is full, and Stopped where `halt` was asked; any other failure is a result that names
    the boundary it crossed.

    A lost sandbox is set up again by playing the recorded steps back, RESCUES times in all and once for a step: lost
    twice at the same step, it counts as the agent's own doing. An `allocator` gives processors and cards for the time
    of the episode, which waits for them; without one it runs wherever the machine lets it.
    """
    store = Episode.open(folder, spec)
    with contextlib.closing(store), halt or Halt() as halt:
        if store.result is not None:
            tidy(allocator)
            return store.result
        if spec.source:
            onward.begin(store, spec)
        try:
            return _driven(spec, store, on_step, say, allocator, halt)
        except (SandboxError, SourceError) as error:
            halt.check()
            beside.add_try(folder, error.boundary, str(error))
            raise


def tidy(allocator: Allocator | None = None) -> None:
    """Take away what a process left that was killed after its last word."""
    for place in (cache_dir() / "scratch", Path(tempfile.gettempdir())):
        sweep(place)
    cgroups.own()
    if allocator:
        allocator.sweep()


def _driven(
    spec: EpisodeSpec, store: Episode, on_step: OnStep, say: Say, allocator: Allocator | None, halt: Halt
) -> Result:
    """The episode with its share of the machine, set up again as often as its sandbox is lost."""
    lost: list[Lost] = []
    notes: list[str] = []
    with _claimed(spec, allocator, say, notes, halt) as share:
        while True:
            try:
                with contextlib.closing(Rollout(spec, store, on_step, say, lost, share, notes, halt)) as rollout:
                    return rollout.run()
            except Lost as error:
                lost.append(error)
            except OSError as error:
                if is_full(error):
                    raise full(Path(error.filename).parent if error.filename else cache_dir()) from error
                raise


def want(spec: EpisodeSpec) -> Want:
    """What an episode asks of the machine."""
    limits = load_task(spec.task).limits
    return Want(spec.processors or limits.processors, limits.gpus, limits.gpu_memory)


@contextlib.contextmanager
def _claimed(spec: EpisodeSpec, allocator: Allocator | None, say: Say, notes: list[str], halt: Halt) -> Iterator[Share]:
    """The episode's share of the machine; where that is less than it asked for, a note says so."""
    if allocator is None:
        yield Share()
        return
    asked = want(spec)
    with allocator.claim(asked, say, halt.check) as share:
        say(f"It has {share}.")
        if share.processors < asked.processors:
            notes.append(f"{asked.processors:g} processors were asked for, and {share.processors:g} given.")
        yield share
