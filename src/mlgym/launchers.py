"""Launchers map a function over episode specs: one after another here, or several at once in threads.

An episode spends its time in sandboxes, graders and model servers, so threads of one process serve many at once.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed

from mlgym.records import EpisodeSpec, Result

Launched = Iterator[tuple[EpisodeSpec, Result]]


def in_process(run: Callable[[EpisodeSpec], Result], specs: Iterable[EpisodeSpec]) -> Launched:
    """One after another, in order."""
    for spec in specs:
        yield spec, run(spec)


def threads(n: int) -> Callable[[Callable[[EpisodeSpec], Result], Iterable[EpisodeSpec]], Launched]:
    """At most `n` at once, yielded as they end; the first exception stops what has not begun and is raised."""

    def launch(run: Callable[[EpisodeSpec], Result], specs: Iterable[EpisodeSpec]) -> Launched:
        pool = ThreadPoolExecutor(n)
        try:
            futures = {pool.submit(run, spec): spec for spec in specs}
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    return launch
