"""The sessions of a server: each one episode at a time, whose actions are jobs in threads of their own.

All but the work itself happens in the thread of the server's event loop.
"""

import asyncio
import sys
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from mlgym import wire
from mlgym.errors import MlgymError, UsageError
from mlgym.offer import Offer, Reset
from mlgym.session import LocalSession

AT_ONCE_S = 10.0  # seconds that all sandboxes have to end in when the server stops


@dataclass(frozen=True)
class Bounds:
    """What a server bears: `sessions` in all and `per_token`, seconds without a request after which one is closed, and
    seconds after which an action is answered as a job. `message` is the most bytes of a message, `connections` the most
    that are open.
    """

    sessions: int = 64
    per_token: int = 64
    idle_s: float = 900.0
    answer_s: float = 20.0
    message: int = 1 << 20
    connections: int = 512


class Refused(Exception):
    """A request that is not served: HTTP's status, OpenEnv's code, the class of the error and a sentence."""

    def __init__(self, status: int, code: str, why: str, kind: str = "UsageError") -> None:
        super().__init__(why)
        self.status, self.code, self.kind = status, code, kind
        self.why = why.encode(errors="replace").decode()  # it may repeat what no answer could hold


@dataclass
class Job:
    """An action under way, or its result; `request` is the client's id of it."""

    number: str
    request: str
    done: "asyncio.Future[dict[str, Any] | Refused]"


@dataclass
class Hosted:
    """One client's session, of the token number `owner`."""

    id: str
    owner: int
    local: LocalSession | None = None
    made: Any = None  # what `local` was made of
    wanted: Reset = field(default_factory=Reset)
    job: Job | None = None
    jobs: int = 0
    seen: float = 0.0
    closed: bool = False


class House:
    """All sessions of a server."""

    def __init__(self, offer: Offer, bounds: Bounds, options: dict[str, Any]) -> None:
        self.offer, self.bounds, self.options = offer, bounds, options
        self.sessions: dict[tuple[int, str], Hosted] = {}
        self.ending: dict[asyncio.Future[None], int] = {}
        self.stopping = False
        self._workers = ThreadPoolExecutor(2 * bounds.sessions, thread_name_prefix="serve")

    def find(self, owner: int, id: str) -> Hosted:
        """The session of that token; raises Refused where there is none (any more)."""
        found = self.sessions.get((owner, id))
        if found is None:
            why = "There is no such session here (any more): begin anew with a reset."
            raise Refused(404, "SESSION_ERROR", why, "SandboxError")
        found.seen = time.monotonic()
        return found

    def open(self, owner: int, id: str) -> Hosted:
        """A new session; raises Refused where there is no place for it."""
        mine = sum(key[0] == owner for key in self.sessions) + sum(each == owner for each in self.ending.values())
        total = len(self.sessions) + len(self.ending)
        if self.stopping or total >= self.bounds.sessions or mine >= self.bounds.per_token:
            why = f"All places are taken: {total} of {self.bounds.sessions}, {mine} of {self.bounds.per_token} by you."
            raise Refused(503, "CAPACITY_REACHED", why, "SandboxError")
        hosted = Hosted(id, owner, seen=time.monotonic())
        self.sessions[owner, id] = hosted
        return hosted

    def start(self, hosted: Hosted, request: str, work: Callable[[], dict[str, Any]]) -> Job:
        """Begin a job, or find the one that this request has begun; raises Refused while another one runs."""
        job = hosted.job
        if job is not None and request and job.request == request:
            return job
        if job is not None and not job.done.done():
            raise Refused(409, "EXECUTION_ERROR", f"Job {job.number} still runs: poll it, or close the session.")
        hosted.jobs += 1
        done = asyncio.get_running_loop().run_in_executor(self._workers, _safely, work)
        hosted.job = Job(str(hosted.jobs), request, done)
        return hosted.job

    def begin(self, hosted: Hosted, wanted: Reset) -> Job:
        """Begin an episode."""
        return self.start(hosted, wanted.request_id, lambda: self._begin(hosted, wanted))

    def act(self, hosted: Hosted, asked: wire.Asked, request: str = "", left_s: float | None = None) -> Job:
        """Take an action, or find the job that it asks for; no command runs on after `left_s` seconds."""
        if asked.poll is not None:
            job = hosted.job
            if job is None or job.number != asked.poll:
                raise Refused(404, "EXECUTION_ERROR", f"There is no job {asked.poll[:40]!r} in this session.")
            return job
        action, until = asked.action(), None if left_s is None else time.monotonic() + left_s

        def work() -> dict[str, Any]:
            session = hosted.local
            if session is None or hosted.closed:
                raise UsageError("The session has no episode yet: begin with a reset.")
            session.deadline = until
            return wire.told(session, session.act(action))

        return self.start(hosted, request, work)

    async def answer(self, hosted: Hosted, job: Job, wait_s: float | None = None) -> dict[str, Any]:
        """What a job came to, or after a while that it still runs; raises Refused for what failed."""
        bound = self.bounds.answer_s
        await asyncio.wait([job.done], timeout=bound if wait_s is None else min(wait_s, bound))
        hosted.seen = time.monotonic()
        if not job.done.done():
            text = wire.RUNNING.format(job=job.number)
            told = {"text": text, "done": False, "reward": 0.0, "metadata": {"running": True}}
            return {**told, "session": hosted.id, "job": job.number}
        result = job.done.result()
        if isinstance(result, Refused):
            raise result
        return {**result, "session": hosted.id, "job": ""}

    def state(self, hosted: Hosted) -> dict[str, Any]:
        """A session as OpenEnv's state."""
        local, job = hosted.local, hosted.job
        return {
            "episode_id": hosted.wanted.episode_id,
            "step_count": local.steps if local else 0,
            "session": hosted.id,
            "task": local.research.task.name if local else "",
            "done": bool(local and local.done),
            "status": local.status if local else "not_scored",
            "job": job.number if job and not job.done.done() else "",
        }

    def close(self, hosted: Hosted) -> "asyncio.Future[None]":
        """End a session, whatever it is at; its place is free once its sandbox is gone."""
        hosted.closed = True
        self.sessions.pop((hosted.owner, hosted.id), None)
        ended = asyncio.get_running_loop().run_in_executor(self._workers, _end, hosted)
        self.ending[ended] = hosted.owner
        ended.add_done_callback(lambda _: self.ending.pop(ended, None))
        return ended

    async def sweep(self) -> None:
        """Close what is idle, for ever."""
        while True:
            await asyncio.sleep(min(5.0, self.bounds.idle_s / 4))
            late = time.monotonic() - self.bounds.idle_s
            for hosted in [each for each in self.sessions.values() if each.seen < late]:
                self.close(hosted)

    async def shut(self) -> None:
        """Close all sessions at once."""
        self.stopping = True
        for hosted in list(self.sessions.values()):
            self.close(hosted)
        if self.ending:
            await asyncio.wait(list(self.ending), timeout=AT_ONCE_S)
        self._workers.shutdown(wait=False, cancel_futures=True)

    def _begin(self, hosted: Hosted, wanted: Reset) -> dict[str, Any]:
        """A new episode, in the session's environment where that fits; in a worker."""
        task = self.offer.task(wanted)
        options = self.offer.options(wanted, task)
        if hosted.local is None or hosted.made != (task.name, options):
            if hosted.local is not None:
                hosted.local.close()
            hosted.local = LocalSession(task, **options, **self.options)
            hosted.made = task.name, options
        local, hosted.wanted = hosted.local, wanted
        try:
            text = local.reset(wanted.seed or 0)
        finally:
            if hosted.closed:
                local.close()
        about = wire.finite({"task": task.name, "brief": local.brief.model_dump(), "steps": 0})
        return {"text": text, "done": False, "reward": None, "metadata": about}


def _safely(work: Callable[[], dict[str, Any]]) -> dict[str, Any] | Refused:
    """What the work gives, or what went wrong; only our own errors are told to the client in full."""
    try:
        return work()
    except MlgymError as error:
        status = 400 if isinstance(error, UsageError) else 500
        return Refused(status, "EXECUTION_ERROR", str(error), type(error).__name__)
    except Exception as error:
        traceback.print_exc(file=sys.stderr)
        return Refused(500, "EXECUTION_ERROR", f"The server failed ({type(error).__name__}).", "SandboxError")


def _end(hosted: Hosted) -> None:
    if hosted.local is not None:
        hosted.local.close()
