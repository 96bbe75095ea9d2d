"""A seccomp filter in plain Python: what no training program needs and what the kernel exposes most by is refused.

Everything else is allowed. Refused are: new namespaces and mounts, sockets but for unix, internet and routing tables
(the network namespace alone lets vsock and audit through), ptrace and its kin, bpf, keys, io_uring, userfaultfd, kexec,
modules, performance counters, terminal injection, shared memory that outlives its processes, and calls of another
architecture. The limits of other processes and the scheduling of pid 1 are out of reach: the driver has the same user
as what it runs.

Two variants are for sandboxes that share the host's network and processes. `shared` leaves Unix sockets only, none of
System V's and POSIX's queues, and the scheduling of oneself only. `same` is for one that shares the user too, where
only Landlock keeps files apart, which knows nothing of modes, owners, attributes and watches: those are refused, but
for the modes 600 and 700 (others are said to be set and are not, so that copies of files succeed). `deaf` refuses to
connect.
"""

import platform
import struct
from typing import NamedTuple

ALLOW, ERRNO = 0x7FFF0000, 0x00050000
EPERM, ENOSYS, EOPNOTSUPP, EAFNOSUPPORT = 1, 38, 95, 97
LOAD, JUMP, EQUAL, ABOVE, ANY, AND, RETURN = 0x20, 0x05, 0x15, 0x35, 0x45, 0x54, 0x06
NUMBER, ARCHITECTURE, FIRST = 0, 4, 16  # places in the call's data; arguments have 8 bytes each
X32 = 0x40000000
NAMESPACES = 0x7E020000  # CLONE_NEW*, but for NEWTIME, which clone() takes for a signal number
UNIX, DATAGRAM = 1, 2
FAMILIES = (UNIX, 2, 10)  # unix, internet, internet 6
NETLINK, ROUTE = 16, 0
TIOCSTI, TIOCLINUX = 0x5412, 0x541C


class Machine(NamedTuple):
    """The numbers of one architecture; `calls` are refused whatever their arguments."""

    audit: int
    socket: int
    socketpair: int
    clone: int
    sigaction: int
    ioctl: int
    prlimit: int
    setpriority: int
    scheduling: tuple[int, ...]  # sched_setparam, sched_setscheduler, sched_setaffinity, sched_setattr
    connect: int
    calls: tuple[int, ...]
    shared: tuple[int, ...]  # System V's shared memory, semaphores and queues, mq_open, mq_unlink, ioprio_set
    owners: tuple[int, ...]  # chown in all forms, inotify_add_watch
    attributes: tuple[int, ...]  # setxattr and removexattr in all forms
    modes: tuple[tuple[int, int], ...]  # chmod in all forms, with the place of the mode among the arguments


# The same on both: pidfd_getfd, the new mount calls, io_uring, memfd_secret, mount_setattr, quotactl_fd.
COMMON = (438, 428, 429, 430, 431, 432, 433, 442, 443, 425, 426, 427, 447)
ATTRIBUTES, FCHMODAT2 = (463, 466, 469), 452  # setxattrat, removexattrat, file_setattr: the same on both as well
MACHINES = {
    "x86_64": Machine(
        audit=0xC000003E,
        socket=41,
        socketpair=53,
        clone=56,
        sigaction=13,
        ioctl=16,
        prlimit=302,
        setpriority=141,
        scheduling=(142, 144, 203, 314),
        connect=42,
        shared=(29, 30, 31, 64, 65, 66, 67, 68, 69, 70, 71, 220, 240, 241, 251),
        owners=(92, 93, 94, 260, 254),
        attributes=(188, 189, 190, 197, 198, 199, *ATTRIBUTES),
        modes=((90, 1), (91, 1), (268, 2), (FCHMODAT2, 2)),
        calls=(
            *(29, 101, 103, 134, 153, 154, 155, 156, 161, 163, 164, 165, 166, 167, 168, 169, 170, 171, 172, 173),
            *(174, 175, 176, 177, 178, 179, 180, 212, 246, 248, 249, 250, 272, 298, 300, 304, 305, 308, 310, 311),
            *(312, 313, 320, 321, 323, *COMMON),
        ),
    ),
    "aarch64": Machine(
        audit=0xC00000B7,
        socket=198,
        socketpair=199,
        clone=220,
        sigaction=134,
        ioctl=29,
        prlimit=261,
        setpriority=140,
        scheduling=(118, 119, 122, 274),
        connect=203,
        shared=(180, 181, 30, *range(186, 198)),
        owners=(54, 55, 27),
        attributes=(5, 6, 7, 14, 15, 16, *ATTRIBUTES),
        modes=((52, 1), (53, 2), (FCHMODAT2, 2)),
        calls=(
            *(18, 194, 39, 40, 41, 42, 51, 58, 60, 89, 97, 104, 105, 106, 116, 117, 142, 161, 162, 170, 217, 218, 219),
            *(224, 225, 241, 262, 265, 266, 268, 270, 271, 272, 273, 280, 282, 294, *COMMON),
        ),
    ),
}
CLONE3, SIGCHLD = 435, 17
AFFINITY = 2  # the place of sched_setaffinity in `scheduling`


def program(
    machine: str = "",
    timed: bool = False,
    *,
    pinned: bool = False,
    shared: bool = False,
    same: bool = False,
    deaf: bool = False,
) -> bytes:
    """The filter for `machine` (this one by default) as bwrap's --seccomp reads it; empty where none is known.

    `timed` refuses to change what SIGCHLD does: the children of who ignores it leave no account of their time.
    `pinned` refuses to change on which processors a process runs.
    """
    known = MACHINES.get(machine or platform.machine())
    if known is None:
        return b""
    allow, refuse, foreign = (RETURN, 0, 0, ALLOW), (RETURN, 0, 0, ERRNO | EPERM), (RETURN, 0, 0, ERRNO | ENOSYS)
    code = [(LOAD, 0, 0, ARCHITECTURE), (EQUAL, 1, 0, known.audit), foreign, (LOAD, 0, 0, NUMBER)]
    if machine != "aarch64":
        code += [(ABOVE, 0, 1, X32), foreign]
    calls = known.calls + shared * known.shared + same * known.owners + deaf * (known.connect,)
    calls += pinned * (known.scheduling[AFFINITY],)
    blocks = [(number, [refuse]) for number in calls]
    blocks.append((CLONE3, [foreign]))  # its flags are out of reach; libraries fall back to clone
    blocks.append((known.clone, [(LOAD, 0, 0, FIRST), (ANY, 0, 1, NAMESPACES), refuse, allow]))
    terminal = [(LOAD, 0, 0, FIRST + 8), (EQUAL, 1, 0, TIOCSTI), (EQUAL, 0, 1, TIOCLINUX), refuse, allow]
    blocks.append((known.ioctl, terminal))
    if timed:
        blocks.append((known.sigaction, [(LOAD, 0, 0, FIRST), (EQUAL, 0, 1, SIGCHLD), refuse, allow]))
    own = [(LOAD, 0, 0, FIRST), (EQUAL, 0, 2, 0), (LOAD, 0, 0, FIRST + 4), (EQUAL, 1, 0, 0), refuse, allow]
    blocks.append((known.prlimit, own))
    other = (EQUAL, 1, 0, 0) if shared else (EQUAL, 0, 1, 1)  # any but oneself, or the driver
    blocks += [(number, [(LOAD, 0, 0, FIRST), other, refuse, allow]) for number in known.scheduling]
    nice = [(LOAD, 0, 0, FIRST), (EQUAL, 0, 2, 0), (LOAD, 0, 0, FIRST + 8), other, refuse, allow]
    blocks.append((known.setpriority, nice))  # no groups or users: the driver is of them
    unknown = (RETURN, 0, 0, ERRNO | EAFNOSUPPORT)
    family = [(LOAD, 0, 0, FIRST), *((EQUAL, 7 - i, 0, number) for i, number in enumerate(FAMILIES))]
    family += [(EQUAL, 1, 0, NETLINK), unknown, (LOAD, 0, 0, FIRST + 16), (EQUAL, 1, 0, ROUTE), unknown, allow]
    if shared:
        family = [(LOAD, 0, 0, FIRST), (EQUAL, 1, 0, UNIX), unknown]
        # a datagram needs no connection, only an address
        family += [(LOAD, 0, 0, FIRST + 8), (AND, 0, 0, 0xF), (EQUAL, 0, 1, DATAGRAM), refuse] if deaf else []
        family += [allow]
    blocks += [(known.socket, family), (known.socketpair, family)]
    if same:
        said, unsupported = (RETURN, 0, 0, ERRNO), (RETURN, 0, 0, ERRNO | EOPNOTSUPP)
        blocks += [(number, [unsupported]) for number in known.attributes]
        for number, place in known.modes:
            mode = [(LOAD, 0, 0, FIRST + 8 * place), (EQUAL, 2, 0, 0o600), (EQUAL, 1, 0, 0o700), said, allow]
            blocks.append((number, mode))
    for number, body in blocks:
        code += [(EQUAL, 0, len(body), number), *body]
    return b"".join(struct.pack("<HBBI", *each) for each in [*code, allow])
