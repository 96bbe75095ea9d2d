"""A process that runs one episode after another for the process that started it, joined to it by one line.

When the line ends, because its owner hung up or died, the episode is interrupted as by Ctrl-C, so that sandboxes,
folders and claims are given back; it can go on later. What goes over the line are pickles: both ends are one user's and
of one version.
"""

import contextlib
import json
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Mapping
from multiprocessing.connection import Connection, Pipe
from typing import Any

from mlgym.errors import MlgymError
from mlgym.launchers.flow import Job
from mlgym.records import EpisodeSpec, Outcome

TIDY_S = 10.0  # what a worker may take to tidy up before it is killed
CODE = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from mlgym.launchers.worker import main; main()"


class Lost(Exception):
    """The worker is gone; the text says what is known of why."""


class Worker:
    """The owner's end: one process, which has at most one episode at a time."""

    def __init__(self, more: Mapping[str, str] | None = None) -> None:
        self.line, theirs = Pipe()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-c", CODE, json.dumps(sys.path), str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,  # a terminal has its table, and what matters comes by the line
                stderr=subprocess.DEVNULL,
                env={**os.environ, **(more or {})},
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C is for the owner, who hangs up
            )

    def send(self, job: Job, spec: EpisodeSpec) -> None:
        """Have an episode begin there; a worker that is gone is noticed by `answer`."""
        with contextlib.suppress(OSError):
            self.line.send_bytes(pickle.dumps((job, spec)))

    def answer(self) -> Outcome:
        """The outcome, which is waited for; raises what the job has raised, and Lost where the process has ended."""
        outcome: Outcome = opened(self.raw())
        return outcome

    def raw(self) -> bytes:
        """The answer as it came; raises Lost."""
        try:
            return self.line.recv_bytes()
        except (EOFError, OSError):
            raise Lost(f"Its worker (process {self.process.pid}) {self._end()}.") from None

    def hang_up(self) -> None:
        """Tell the worker to end."""
        self.line.close()

    def interrupt(self) -> None:
        """End the worker while another thread waits for its answer, which gets Lost."""
        self.process.send_signal(signal.SIGINT)
        self._wait()

    def close(self) -> None:
        """End the worker, which has some seconds to tidy up."""
        self.hang_up()
        self._wait()

    def _wait(self) -> None:
        try:
            self.process.wait(TIDY_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _end(self) -> str:
        code = self.process.wait(TIDY_S)
        if code >= 0:
            return f"ended with code {code}"
        return f"was killed ({signal.Signals(-code).name})"


def closed(make: Any) -> bytes:
    """What `make` returns or raises, to be sent."""
    try:
        return pickle.dumps((True, make()))
    except Exception as error:
        if not isinstance(error, MlgymError):
            error.add_note(traceback.format_exc())
        try:
            return pickle.dumps((False, error))
        except Exception:
            return pickle.dumps((False, RuntimeError(f"{type(error).__name__}: {error}")))


def opened(answer: bytes) -> Any:
    """What was returned there; raises what was raised."""
    good, value = pickle.loads(answer)
    if good:
        return value
    raise value


def main() -> None:
    """The worker's end."""
    line, todo = Connection(int(sys.argv[2])), queue.SimpleQueue[bytes]()
    os.set_inheritable(line.fileno(), False)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever the owner had: Ray's processes block it
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_listen, args=(line, todo), daemon=True).start()
    try:
        while True:
            asked = todo.get()
            line.send_bytes(closed(lambda: _run(asked)))  # noqa: B023 - called at once
    except (KeyboardInterrupt, OSError):
        _leave()


def _run(asked: bytes) -> Outcome:
    job, spec = pickle.loads(asked)
    outcome: Outcome = job(spec)
    return outcome


def _listen(line: "Connection[Any, Any]", todo: "queue.SimpleQueue[bytes]") -> None:
    """Take what comes; at the end of the line interrupt the main thread, and end the process where that takes long."""
    try:
        while True:
            todo.put(line.recv_bytes())
    except (EOFError, OSError):
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        threading.Event().wait(TIDY_S - 1)
        _leave()


def _leave() -> None:
    """End at once: what other threads do is not waited for."""
    from mlgym.sandbox import cgroups

    cgroups.clear()
    os._exit(0)
