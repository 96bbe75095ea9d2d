"""The first program of the sandboxes `user` and `landlock`: it gives up rights, for good, and becomes what it was told.

Standard library only; `weak.py` sends its text with -c and hands over the orders as a marshalled dictionary. A driver
(a Python text given with -c) runs in this very process and finds in `sys.pen` what gives up the rights that only the
driver keeps; any other program gives them up here. Beside it an undertaker stays, out of reach of all that runs inside,
which ends everything that is left as soon as the first process is gone.
"""

from __future__ import annotations

import ctypes
import marshal
import os
import resource
import select
import struct
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
BENEATH = 1
ABSTRACT, SIGNALS = 1, 2  # scopes: neither sockets nor signals leave the domain
KILL, SIGCHLD, CLONE_PARENT = 9, 17, 0x8000
PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 1, 22, 24, 38
OF_FILES = 0xC007  # the rights that a file can have: execute, write, read, truncate, ioctl


def call(number: int, *arguments: Any) -> int:
    """A system call by its number; raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    result = int(libc.syscall(ctypes.c_long(number), *arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def version() -> int:
    """The version of the kernel's Landlock, 0 where there is none."""
    try:
        return call(CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint(1))
    except OSError:
        return 0


def ruleset(files: int, network: int, scopes: int, rules: list[tuple[str, int]]) -> int:
    """A Landlock ruleset: of the rights `files` only those that the rules give (place, rights) are kept."""
    about = struct.pack("=QQQ", files, network, scopes)
    made = call(CREATE_RULESET, about, ctypes.c_size_t(len(about)), ctypes.c_uint(0))
    os.set_inheritable(made, False)
    for path, rights in rules:
        try:
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue  # what is not there needs no rule
        try:
            rights &= files if os.path.isdir(f"/proc/self/fd/{place}") else files & OF_FILES
            call(ADD_RULE, made, BENEATH, struct.pack("=Qi", rights, place), ctypes.c_uint(0))
        finally:
            os.close(place)
    return made


def restrict(made: int) -> None:
    """Enter the domain of a ruleset, for ever."""
    call(RESTRICT_SELF, made, ctypes.c_uint(0))


def control(*numbers: Any) -> None:
    """prctl(2); raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(*numbers, *[0] * (5 - len(numbers))) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def filtered(program: bytes) -> None:
    """Install a filter of system calls."""
    code = ctypes.create_string_buffer(program, len(program))
    about = ctypes.create_string_buffer(struct.pack("@HP", len(program) // 8, ctypes.addressof(code)))
    control(PR_SET_SECCOMP, 2, about)


def bound(limits: dict[str, int]) -> None:
    """Set resource limits, soft and hard, as far as this process may."""
    for name, value in limits.items():
        which = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(which)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(which, (value, value))


def bury(about: dict[str, Any], watched: int) -> None:
    """The undertaker, a child of the host: wait for the end of the first process, then end all that it left."""
    os.setsid()
    lower(about["user"], about["burier"])
    os.dup2(about["ended"], 0)
    os.dup2(watched, 1)
    os.closerange(2, 4096)
    os.write(0, str(os.getpid()).encode())
    if not beyond(about["host"]):
        return
    poll = select.poll()
    poll.register(1, select.POLLIN)
    poll.poll()
    for _ in range(3):
        try:
            os.kill(-1, KILL)
        except OSError:
            pass
        select.poll().poll(10)


def lower(user: int, keeper: int) -> None:
    """Become the sandbox's user, if it has one.

    A signal needs the sender's number in the first or the last of a process's three: what keeps another one there is
    out of reach of those whose three are all the sandbox's.
    """
    if not user:
        return
    for number in range(64):
        try:
            control(PR_CAPBSET_DROP, number)
        except OSError:
            break
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(keeper, user, keeper)


def beyond(host: int) -> bool:
    """Whether this process may not signal the host; only then does `kill -1` keep to the sandbox."""
    try:
        os.kill(host, 0)
    except PermissionError:
        return True
    except OSError:
        return False
    return False


def sibling() -> int:
    """A fork whose parent is the host."""
    number = {"x86_64": 56, "aarch64": 220}[os.uname().machine]
    return int(ctypes.PyDLL(None).syscall(ctypes.c_long(number), CLONE_PARENT | SIGCHLD, *[ctypes.c_long(0)] * 4))


def main() -> None:
    """Give up rights in the order in which they are needed; then become the program."""
    with open(int(sys.argv[1]), "rb") as file:
        about = marshal.load(file)
    user = about["user"]
    try:
        score = os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        score = -1
    domain = ruleset(*about["domain"]) if about["domain"] else -1
    scope = -1 if user else ruleset(0, 0, SIGNALS, [])
    bound(about["limits"])
    os.umask(about["umask"])
    control(PR_SET_NO_NEW_PRIVS, 1)
    if domain >= 0:
        restrict(domain)  # before there are two: each call makes a domain of its own
    watched = os.pidfd_open(os.getpid())
    if not sibling():
        try:
            bury(about, watched)
        finally:
            os._exit(0)
    os.close(watched)
    os.close(about["ended"])
    lower(user, about["keeper"])
    if not beyond(about["host"]):
        os._exit(1)
    if scope >= 0:
        restrict(scope)
    filtered(about["filter"])
    os.chdir(about["folder"])
    become(about, scope, score)


def become(about: dict[str, Any], scope: int, score: int) -> None:
    """Be the program: a driver in this process, which keeps what `pen` gives up, or any other."""

    def pen() -> None:
        if about["user"]:
            os.setresuid(*[about["user"]] * 3)
        else:
            restrict(scope)

    argv = about["argv"]
    if argv[0] == sys.executable and argv[1:4] == ["-I", "-S", "-c"]:
        os.environ.clear()
        os.environ.update(about["variables"])
        sys.pen, sys.score = pen, score  # type: ignore[attr-defined]
        exec(argv[4], {"__name__": "__main__"})
        return
    if about["user"]:
        pen()
    control(PR_SET_PDEATHSIG, KILL)
    if score >= 0:
        os.pwrite(score, b"1000", 0)  # the first to be ended where the machine has no memory left
    if os.getppid() == about["host"]:
        os.execve(argv[0], argv, about["variables"])


if __name__ == "__main__":
    main()
