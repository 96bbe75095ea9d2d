"""What all launchers of several episodes share: when the next spec is asked for, and when it is over."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from mlgym.records import EpisodeSpec, Failure, Outcome

Job = Callable[[EpisodeSpec], Outcome]
Specs = Iterable[EpisodeSpec | None]
Launched = Iterator[tuple[EpisodeSpec, Outcome]]
Launcher = Callable[[Job, Specs], Launched]
Say = Callable[[EpisodeSpec, str], None]

AGAIN_S = 1.0  # seconds until a source that had nothing is asked again
AGAINS = 3  # times that an episode whose worker was lost is run again


class Pool(Protocol):
    """Where episodes run, several at once."""

    def __len__(self) -> int:
        """How many are on their way."""

    def free(self) -> bool:
        """Whether one more could begin at once."""

    def start(self, spec: EpisodeSpec) -> None:
        """Begin one."""

    def ended(self, seconds: float) -> Launched:
        """Those that have ended; waits so long for the first, and raises what a job has raised."""

    def close(self) -> None:
        """End what still runs, and the workers."""


def flow(pool: Pool, specs: Specs) -> Launched:
    """The outcomes as they come, until the source has ended and nothing is on its way."""
    source, more = iter(specs), True
    try:
        while more or len(pool):
            if more and pool.free():
                try:
                    spec = next(source)
                except StopIteration:
                    more = False
                    continue
                if spec is not None:
                    pool.start(spec)
                    continue
            if len(pool):
                yield from pool.ended(AGAIN_S)
            else:
                time.sleep(AGAIN_S)
    finally:
        pool.close()


def quiet(spec: EpisodeSpec, note: str) -> None:
    """Say nothing."""


def again(spec: EpisodeSpec, losses: int, why: str, say: Say) -> Failure | None:
    """None where an episode that has lost its worker so often is to run again, which is said; else its end."""
    if losses > AGAINS:
        return Failure(boundary="sandbox", why=f"{why} It had been run again {AGAINS} times.")
    say(spec, f"{why} It is run again ({losses} of {AGAINS}).")
    return None
