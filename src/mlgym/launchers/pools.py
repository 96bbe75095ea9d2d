"""Threads and processes of this machine."""

from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from multiprocessing import connection

from mlgym.launchers.flow import Job, Launched, Say, again
from mlgym.launchers.worker import Lost, Worker
from mlgym.records import EpisodeSpec, Outcome


class Threads:
    """Threads of this process."""

    def __init__(self, job: Job, n: int) -> None:
        self._job, self._n = job, n
        self._pool = ThreadPoolExecutor(n)
        self._running: dict[Future[Outcome], EpisodeSpec] = {}

    def __len__(self) -> int:
        return len(self._running)

    def free(self) -> bool:
        """Whether fewer run than may."""
        return len(self) < self._n

    def start(self, spec: EpisodeSpec) -> None:
        """Begin one."""
        self._running[self._pool.submit(self._job, spec)] = spec

    def ended(self, seconds: float) -> Launched:
        """Those that have ended."""
        for future in wait(self._running, seconds, FIRST_COMPLETED).done:
            yield self._running.pop(future), future.result()

    def close(self) -> None:
        """Begin nothing more; what runs is not waited for, since its sandboxes end with this process."""
        self._pool.shutdown(wait=False, cancel_futures=True)


class Processes:
    """Worker processes, each for many episodes, one after another."""

    def __init__(self, job: Job, n: int, say: Say) -> None:
        self._job, self._n, self._say = job, n, say
        self._idle: list[Worker] = []
        self._running: dict[Worker, tuple[EpisodeSpec, int]] = {}  # with how often it has lost its worker

    def __len__(self) -> int:
        return len(self._running)

    def free(self) -> bool:
        """Whether fewer run than may."""
        return len(self) < self._n

    def start(self, spec: EpisodeSpec, losses: int = 0) -> None:
        """Begin one, in a process that has nothing to do or in a new one."""
        worker = self._idle.pop() if self._idle else Worker()
        self._running[worker] = spec, losses
        worker.send(self._job, spec)

    def ended(self, seconds: float) -> Launched:
        """Those that have ended; an episode that has lost its process begins again."""
        workers = {worker.line: worker for worker in self._running}
        for line in connection.wait(list(workers), seconds):
            worker = workers[line]  # type: ignore[index]
            spec, losses = self._running[worker]
            try:
                outcome = worker.answer()
            except Lost as lost:
                worker.close()
                del self._running[worker]
                failure = again(spec, losses + 1, str(lost), self._say)
                if failure is None:
                    self.start(spec, losses + 1)
                else:
                    yield spec, failure
            else:
                del self._running[worker]
                self._idle.append(worker)
                yield spec, outcome

    def close(self) -> None:
        """End the workers; what runs there is stopped and tidies up."""
        workers = [*self._idle, *self._running]
        for worker in workers:
            worker.hang_up()
        for worker in workers:
            worker.close()
