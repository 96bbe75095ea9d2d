"""Launchers map a job over episode specs: one after another here, or several at once in threads.

A launcher takes specs lazily: the next one is asked for when a worker is free. None means that nothing is to be started
now: it asks again after the next outcome, or after about a second. An episode spends its time in sandboxes, graders and
model servers, so threads of one process serve many at once.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from mlgym.records import EpisodeSpec, Outcome

Job = Callable[[EpisodeSpec], Outcome]
Launched = Iterator[tuple[EpisodeSpec, Outcome]]
Launcher = Callable[[Job, Iterable[EpisodeSpec | None]], Launched]
AGAIN_S = 1.0  # seconds until a source that had nothing is asked again


def in_process(job: Job, specs: Iterable[EpisodeSpec | None]) -> Launched:
    """One after another, in order."""
    for spec in specs:
        if spec is None:
            time.sleep(AGAIN_S)
        else:
            yield spec, job(spec)


def threads(n: int) -> Launcher:
    """At most `n` at once, yielded as they end; the first exception stops what has not begun and is raised."""

    def launch(job: Job, specs: Iterable[EpisodeSpec | None]) -> Launched:
        pool, source = ThreadPoolExecutor(n), iter(specs)
        running: dict[Future[Outcome], EpisodeSpec] = {}
        more = True
        try:
            while more or running:
                idle = False
                while more and not idle and len(running) < n:
                    try:
                        spec = next(source)
                    except StopIteration:
                        more = False
                    else:
                        idle = spec is None
                        if spec is not None:
                            running[pool.submit(job, spec)] = spec
                if not running:
                    time.sleep(AGAIN_S if idle else 0)
                    continue
                for future in wait(running, AGAIN_S if more else None, FIRST_COMPLETED).done:
                    yield running.pop(future), future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    return launch
