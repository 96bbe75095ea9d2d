"""Start processes for sandboxes from the one permanent thread of this process.

A sandbox dies with the *thread* that started it (the kernel's parent-death signal goes by threads), so none may be
started by a thread that comes and goes.
"""

import contextlib
import os
import queue
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlgym.sandbox import Sandbox

Job = tuple[Callable[[], "subprocess.Popen[bytes]"], "Future[subprocess.Popen[bytes]]"]
_spawners: dict[int, "queue.SimpleQueue[Job]"] = {}
_lock = threading.Lock()


def launch(sandbox: "Sandbox", argv: Sequence[str], *, stderr: int = subprocess.DEVNULL) -> "subprocess.Popen[bytes]":
    """Run `argv` inside the started sandbox, with pipes for standard input and output and nothing else inherited.

    Raises OSError when the host cannot start it. Waiting, killing and closing the pipes are the caller's.
    """
    command = sandbox.wrap(argv)
    handed = tuple(sandbox.handed)

    def start() -> "subprocess.Popen[bytes]":
        with on(sandbox.spec.processors):
            return subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                bufsize=0,
                env={},
                cwd="/",
                pass_fds=handed,
                start_new_session=True,
            )

    try:
        return spawn(start)
    finally:
        sandbox.handed.clear()
        for fd in handed:
            os.close(fd)


def spawn(make: Callable[[], "subprocess.Popen[bytes]"]) -> "subprocess.Popen[bytes]":
    """What `make` returns, called in the permanent thread of this process (a forked child gets its own)."""
    with _lock:
        jobs = _spawners.get(os.getpid())
        if jobs is None:
            jobs = _spawners[os.getpid()] = queue.SimpleQueue()
            threading.Thread(target=_serve, args=(jobs,), name="sandbox spawner", daemon=True).start()
    answer: Future[subprocess.Popen[bytes]] = Future()
    jobs.put((make, answer))
    return answer.result()


@contextlib.contextmanager
def on(processors: Sequence[int]) -> Iterator[None]:
    """Keep this thread, and so what it starts, to these processors; none named: nothing changes."""
    if not processors or not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, processors)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _serve(jobs: "queue.SimpleQueue[Job]") -> None:
    while True:
        make, answer = jobs.get()
        try:
            answer.set_result(make())
        except BaseException as error:
            answer.set_exception(error)
        del answer


with contextlib.suppress(AttributeError):
    os.register_at_fork(after_in_child=lambda: globals().update(_lock=threading.Lock()))
