"""The user numbers of sandboxes: what runs under them is ended, and what dead hosts left is swept."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from mlgym.errors import SandboxError
from mlgym.sandbox.scratch import NAME, namespace, remove, started

OPEN_TO_ALL = ("/dev/shm", "/tmp", "/var/tmp")
CLEARING_S = 10.0


def clear(uids: Sequence[int]) -> None:
    """End all processes of these users, and remove what they left where all may write; raises SandboxError."""
    end = time.monotonic() + CLEARING_S
    while left := list(owned(uids)):
        if time.monotonic() > end:
            raise SandboxError(f"{len(left)} processes of a sandbox cannot be ended.")
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in left:
                with contextlib.suppress(OSError):
                    os.kill(pid, number)
        time.sleep(0.01)
    for entry in (entry for folder in map(Path, OPEN_TO_ALL) if folder.is_dir() for entry in list(folder.iterdir())):
        with contextlib.suppress(OSError):
            if entry.lstat().st_uid in uids:
                remove(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()


def owned(uids: Sequence[int]) -> Iterator[int]:
    """The living processes of these users."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            status = (folder / "status").read_text(errors="replace")
            fields = {line.split(":")[0]: line.split()[1:] for line in status.splitlines() if ":" in line}
            if fields["State"][0] not in "ZX" and {int(uid) for uid in fields["Uid"]} & set(uids):
                yield int(folder.name)


def sweep(parent: Path) -> None:
    """End what dead processes of this package have left running; their folders are removed by `scratch`."""
    for entry in parent.iterdir():
        match = NAME.fullmatch(entry.name)
        if match and int(match[3]) == namespace() and started(int(match[1])) != int(match[2]):
            with contextlib.suppress(OSError):
                uid = (entry / "home").lstat().st_uid
                if entry.lstat().st_uid == os.geteuid() and uid != os.geteuid():
                    clear([uid])
