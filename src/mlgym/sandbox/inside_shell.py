"""The bash of a sandbox and what it starts, for `inside.py`, which runs in the same namespace.

A command's text is laid into a memfd that bash reads afresh; its output comes by a fifo of its own, so that what a job
of an earlier command prints is never mixed in; its end is told on a third pipe, with a ticket, by what bash reads after
the command. That is sent twice, because SIGINT makes an interactive bash drop the rest of the line it is in; and bash
is interactive because only then does SIGINT end `while :; do :; done` and keep the shell.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found] # the module `signal` costs 4 ms, for its enums
import os
import select
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

    Moment = tuple[set[int], int]
    Answer = tuple[dict[str, Any], bytes]

    from mlgym.sandbox.inside_output import PIPE, Output

GRACE = 1.0  # seconds from SIGINT to SIGKILL
STORED = 32  # outputs kept in files
START = b"unset HISTFILE MAILCHECK;set +o history;PS1= PS2=\n"
LINE = (
    "\nIFS= read -rd '' __command </proc/self/fd/8||:;{status}"
    'eval "$__command" </dev/null >>{fifo} 2>&1 8<&- 9>&-;printf "\\n{ticket} %d\\n" $? >&9\n'
    'printf "\\n{ticket} %d\\n" $? >&9\n'
)


class Ended(Exception):
    """The host is gone: leave nothing behind."""


def stat_of(pid: int) -> tuple[int, int] | None:
    """(parent, start in clock ticks) of a process, None when it is gone or dead."""
    try:
        with open(f"/proc/{pid}/stat", "rb", 0) as file:
            fields = file.read().rpartition(b") ")[2].split()
    except OSError:
        return None
    return None if fields[0] in b"ZX" else (int(fields[1]), int(fields[19]))


def pids() -> set[int]:
    """All processes that /proc shows."""
    return {int(name) for name in os.listdir("/proc") if name[0] in "123456789"}


def now() -> Moment:
    """This moment: the processes there are, and the clock in ticks."""
    return pids(), int(time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK")) + 1


def quote(path: str) -> str:
    """The path as one word of the shell."""
    return "'" + path.replace("'", "'\\''") + "'"


def signalled(pid: int, number: int) -> None:
    """Send a signal to a process that may be gone."""
    try:
        os.kill(pid, number)
    except OSError:
        pass


class Driver:
    """The shell, its outputs and its children."""

    def __init__(self, config: dict[str, Any], requests: int, score: int) -> None:
        self.requests, self.workspace, self.folder = requests, config["workspace"], config["outputs"]
        self.kept, self.most = config["output_kept"], config["output_max"]
        self.bash, self.cwd, self.status, self.n = 0, self.workspace, 0, 0
        self.pause = self.due = 0.0
        self.me, self.parent, self.score = os.getpid(), os.getppid(), score
        self.alone = self.me == 1
        self.pen: Callable[[], None] | None = getattr(sys, "pen", None)  # of `enter.py`: what children must give up
        self.apart = self.alone or self.pen is not None  # `kill -1` reaches nothing but this sandbox
        self.outputs: dict[int, Output] = {}
        self.codes: dict[int, int | None] = {0: 137}  # 0: no shell could be started
        self.dying: set[int] = set()
        self.stored: list[str] = []
        self.lines = b""
        self.poll = select.poll()
        self.awake, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        _signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        for number in (_signal.SIGCHLD, _signal.SIGHUP):
            _signal.signal(number, lambda *_: None)
        for number in (_signal.SIGINT, _signal.SIGTERM, _signal.SIGQUIT, _signal.SIGUSR1, _signal.SIGUSR2):
            _signal.signal(number, _signal.SIG_IGN)
        self.poll.register(self.awake, select.POLLIN)
        self.text = os.memfd_create("command", os.MFD_CLOEXEC)
        self.feed = self.told = -1
        self.spawn_bash()

    def idle(self) -> None:
        """Wait for a request, meanwhile seeing to the children."""
        asked = False
        while not asked:
            dead = self.codes[self.bash] is not None
            if dead and time.monotonic() >= self.due:
                self.spawn_bash()
                continue
            self.poll.register(self.requests, select.POLLIN)
            asked = self.wait(self.due - time.monotonic() if dead else None)
            self.poll.register(self.requests, 0)

    def child(self, argv: list[str], cwd: str, fds: dict[int, int]) -> int:
        """Start a program in a session of its own, with `fds` (inside -> mine) open; returns its pid."""
        for attempt in range(50):
            try:
                pid = self.fork()
                break
            except BlockingIOError:
                if self.apart and attempt == 40:
                    signalled(-1, _signal.SIGKILL)  # what leaves no room for one more ends
                self.wait(0.1)
        else:
            raise BlockingIOError(11, "No process can be started: too many are running")
        if not pid:
            self.become(argv, cwd, fds)
        self.codes[pid] = None
        return pid

    def fork(self) -> int:
        """Fork; a child is the kernel's first choice when memory runs out, which the driver is not."""
        self.chosen(b"1000")
        try:
            return os.fork()
        finally:
            if os.getpid() == self.me:
                self.chosen(b"0")

    def chosen(self, score: bytes) -> None:
        """Set my own score for the kernel's choice of a process to end, as far as the kernel lets me."""
        try:
            os.pwrite(self.score, score, 0)
        except OSError:
            pass

    def become(self, argv: list[str], cwd: str, fds: dict[int, int]) -> NoReturn:
        """In the child: be the program."""
        try:
            for number in range(1, _signal.NSIG):
                if number not in (_signal.SIGKILL, _signal.SIGSTOP, 32, 33):
                    _signal.signal(number, _signal.SIG_DFL)
            os.setsid()
            for target, mine in fds.items():
                os.dup2(mine, target)
            try:
                os.chdir(cwd)
            except OSError:
                os.chdir(self.workspace)
            if self.pen:
                self.pen()
            for attempt in range(50):
                try:
                    os.execvp(argv[0], argv)
                except BlockingIOError:  # the user of the pen has no room for one more process
                    if attempt == 40:
                        signalled(-1, _signal.SIGKILL)
                    time.sleep(0.1)
        except OSError as error:
            os.write(2, f"{argv[0]}: {error.strerror}\n".encode())
        finally:
            os._exit(127)

    def spawn_bash(self) -> None:
        """A new shell in the place of the old one, in the folder that the old one was last seen in.

        Where none can start or each dies young, `idle` tries again later and later: something may kill them all.
        """
        self.quiet()
        moment = time.monotonic()
        self.pause = min(2 * self.pause + 0.01, 1.0) if moment < self.due + 1.0 else 0.0
        self.due = moment + self.pause
        stdin, self.feed = os.pipe2(os.O_CLOEXEC)
        self.told, status = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self.feed, False)  # commands inside can fill it
        os.set_blocking(self.told, False)
        self.poll.register(self.told, select.POLLIN)
        os.write(self.feed, START)
        if self.bash:
            del self.codes[self.bash]
        self.bash, self.lines, self.status = 0, b"", 0
        argv = ["bash", "--norc", "--noprofile", "--noediting", "-i"]
        try:
            self.bash = self.child(argv, self.cwd, {0: stdin, 8: self.text, 9: status})
        except OSError:
            pass
        os.close(stdin)
        os.close(status)

    def quiet(self) -> None:
        """Close the pipes of a shell that has ended."""
        if self.told >= 0:
            self.poll.unregister(self.told)
            os.close(self.told)
            os.close(self.feed)
            self.told = self.feed = -1

    def reap(self) -> None:
        """Collect the dead; codes are kept for those that are waited for (128 + signal, as shells count)."""
        try:
            os.read(self.awake, 4096)
        except BlockingIOError:
            pass
        if not self.alone and os.getppid() != self.parent:
            raise Ended
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            code = os.waitstatus_to_exitcode(status)
            if pid in self.codes:
                self.codes[pid] = 128 - code if code < 0 else code

    def wait(self, seconds: float | None) -> bool:
        """Sleep until something happens, and see to it; True when the host has written or is gone."""
        asked = False
        for fd, _ in self.poll.poll(None if seconds is None else min(max(0.0, seconds) * 1000 + 1, 1e9)):
            if fd == self.awake:
                self.reap()
            elif fd == self.told:
                self.hear()
            elif fd == self.requests:
                asked = True
            elif fd in self.outputs:
                self.pump(fd)
            elif fd in self.dying:
                self.release(fd)
        return asked

    def hear(self) -> None:
        """Take what the shell tells of its commands' ends."""
        try:
            data = os.read(self.told, PIPE)
        except BlockingIOError:
            return  # a command inside has read it first
        self.lines = (self.lines + data)[-PIPE:]
        if not data:
            self.quiet()

    def pump(self, fd: int) -> int:
        """Take what a command has printed; returns the number of bytes."""
        size = self.outputs[fd].pump()
        if self.outputs[fd].ended:
            self.poll.unregister(fd)
            del self.outputs[fd]
        return size

    def release(self, fd: int) -> None:
        """No longer wait for a process."""
        self.dying.discard(fd)
        self.poll.unregister(fd)
        os.close(fd)

    def born(self, since: Moment) -> set[int]:
        """The living processes below me that began after that moment, without the shell and what older ones started."""
        table = {pid: found for pid in pids() if (found := stat_of(pid))}
        me = os.getpid()
        mine = set(table) if self.alone else {me}
        while more := {pid for pid, (parent, _) in table.items() if parent in mine} - mine:
            mine |= more
        mine = mine & set(table) - {me, self.bash}
        new = {pid for pid in mine if pid not in since[0] or table[pid][1] > since[1]}
        older = mine - new
        while more := {pid for pid in new if table[pid][0] in older}:
            new -= more
            older |= more
        return new

    def run(self, command: bytes, seconds: float) -> Answer:
        """One command in the shell."""
        if self.codes[self.bash] is not None:
            self.spawn_bash()
        fifo, end = self.fifo()
        output = self.output(end)
        ticket = os.urandom(8).hex()
        status = f"case $- in *e*);;*)(exit {self.status});;esac;" if self.status else ""
        os.ftruncate(self.text, 0)
        os.pwrite(self.text, command, 0)
        shell, since, sign = self.bash, now(), f"\n{ticket} ".encode()
        try:
            os.write(self.feed, LINE.format(status=status, fifo=quote(fifo), ticket=ticket).encode())
        except OSError:  # it has just been killed, or commands inside have filled the pipe; its end is told below
            if self.codes[shell] is None:
                signalled(shell, _signal.SIGKILL)

        def done() -> bool:
            return sign in self.lines or self.codes[shell] is not None

        verdict = self.attend(output, since, seconds, done, shell)
        try:
            os.unlink(fifo)
        except OSError:
            pass
        output.noise = b"bash: [%d: " % shell
        answer, body = self.finish(output)
        code = self.codes[shell]
        restarted = code is not None
        if restarted:
            body = body.removesuffix(b"exit\n")  # what an interactive bash says when it leaves
            self.spawn_bash()
        else:
            told = self.lines.partition(sign)[2].partition(b"\n")[0]
            self.status = code = int(told) if told.isdigit() else 0
            try:
                self.cwd = os.readlink(f"/proc/{shell}/cwd").removesuffix(" (deleted)")
            except OSError:
                pass  # it has been killed since
        self.lines = b""
        return answer | {"verdict": verdict, "restarted": restarted, "code": code, "cwd": self.cwd}, body

    def fifo(self) -> tuple[str, int]:
        """A new fifo and its reading end, in another place where the usual one is full or spoilt."""
        for folder in (self.folder, "/tmp", "/dev/shm", self.workspace):
            path = f"{folder}/{os.urandom(8).hex()}"
            try:
                os.makedirs(folder, exist_ok=True)
                os.mkfifo(path, 0o600)
                return path, os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
            except OSError as error:
                failure = error
        raise failure

    def exec(self, argv: list[str], stdin: bytes, seconds: float, cwd: str) -> Answer:
        """One program beside the shell."""
        given = os.memfd_create("stdin", os.MFD_CLOEXEC)
        os.write(given, stdin)
        os.lseek(given, 0, os.SEEK_SET)
        mine, its = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(mine, False)
        output, since = self.output(mine), now()
        pid = self.child(argv, cwd, {0: given, 1: its, 2: its})
        os.close(given)
        os.close(its)
        verdict = self.attend(output, since, seconds, lambda: self.codes[pid] is not None, pid)
        answer, body = self.finish(output)
        return answer | {"verdict": verdict, "restarted": False, "code": self.codes.pop(pid), "cwd": self.cwd}, body

    def output(self, fd: int) -> Output:
        """A new output, listened to."""
        self.n += 1
        output = self.outputs[fd] = Output(fd, f"{self.folder}/{self.n}.txt", self.kept, self.most)
        self.poll.register(fd, select.POLLIN)
        return output

    def finish(self, output: Output) -> Answer:
        """What a command has printed, once it is over; what it left running prints on into the file."""
        taken, output.over = 0, True
        while taken <= PIPE and output.fd in self.outputs and (size := self.pump(output.fd)):
            taken += size
        if output.file is not None:
            self.stored.append(output.path)
        while len(self.stored) > STORED:
            try:
                os.unlink(self.stored.pop(0))
            except OSError:
                pass
        return output.result()

    def attend(self, output: Output, since: Moment, seconds: float, done: Callable[[], bool], shell: int) -> str:
        """Wait for a command's end: `ok`; or stop it: `timeout`, or `flood` where it printed more than is allowed."""
        end = time.monotonic() + seconds
        while not done():
            left = end - time.monotonic()
            if left <= 0 or output.total > self.most:
                self.stop(since, done, shell)
                return "flood" if output.total > self.most else "timeout"
            if self.wait(left):
                raise Ended
        return "ok"

    def stop(self, since: Moment, done: Callable[[], bool], shell: int) -> None:
        """End a command: SIGINT to all that it started, SIGKILL after GRACE, at last the shell itself."""
        for pid in {shell, *self.born(since)}:
            try:
                fd = os.pidfd_open(pid)
            except OSError:
                continue
            signalled(pid, _signal.SIGINT)
            signalled(pid, _signal.SIGCONT)
            if pid == shell:
                os.close(fd)
                continue
            self.dying.add(fd)
            self.poll.register(fd, select.POLLIN)
        self.until(lambda: done() and not self.dying, GRACE)
        for fd in list(self.dying):
            self.release(fd)
        for _ in range(10):
            rest = self.born(since)
            if done() and not rest:
                return
            for number in (_signal.SIGSTOP, _signal.SIGKILL):
                for pid in rest:
                    signalled(pid, number)
            if not done():
                signalled(shell, _signal.SIGINT)
            self.until(lambda: done() and not self.born(since), 0.2)
        signalled(-1 if self.apart else shell, _signal.SIGKILL)
        self.until(done, 5.0)

    def renew(self) -> None:
        """End all that runs here and start a new shell."""

        def rest() -> set[int]:
            return self.born((set(), 0)) | ({self.bash} if self.codes[self.bash] is None else set())

        for _ in range(50):
            if not (left := rest()):
                break
            for number in (_signal.SIGSTOP, _signal.SIGKILL):
                for pid in left:
                    signalled(pid, number)
            self.until(lambda: not rest(), 0.2)
        self.spawn_bash()

    def until(self, done: Callable[[], bool], seconds: float) -> None:
        """See to the children until `done`, at most so long."""
        end = time.monotonic() + seconds
        while not done() and (left := end - time.monotonic()) > 0:
            if self.wait(left):
                raise Ended

    def sweep(self) -> None:
        """End all that was ever started here; alone, the end of pid 1 does it."""
        for _ in range(0 if self.alone else 100):
            rest = self.born((set(), 0)) | ({self.bash} if self.codes[self.bash] is None else set())
            if self.apart:
                signalled(-1, _signal.SIGKILL)
            for number in (_signal.SIGSTOP, _signal.SIGKILL):
                for pid in rest:
                    signalled(pid, number)
            try:
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            except OSError:
                return
            self.poll.poll(50)
